"""Settings: where they come from, which source wins, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.errors import ConfigurationError
from sluiceway.commands.config import inline, render
from sluiceway.config import SETTINGS, Config, is_address, load
from sluiceway.config_file import MAX_FILE_BYTES, read_file


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    import os

    for name in list(os.environ):
        if name.upper().startswith("SLUICEWAY_"):
            monkeypatch.delenv(name)


def refusal(file: Path | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    return str(caught.value)


def test_without_file_and_environment_every_value_is_the_default() -> None:
    loaded = load()

    assert loaded.config == Config()
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.file is None


def test_command_line_wins_over_environment_over_file_over_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sluiceway.yaml").write_text(
        "data_dir: a\nretention: {traces_days: 3, logs_days: 4, metrics_days: 5}\n"
    )
    monkeypatch.setenv("SLUICEWAY_DATA_DIR", "b")
    monkeypatch.setenv("SLUICEWAY_RETENTION__LOGS_DAYS", "14")

    loaded = load(overrides={"data_dir": Path("c")})

    retention = loaded.config.retention
    assert (str(loaded.config.data_dir), loaded.sources["data_dir"]) == ("c", "command line")
    assert (retention.logs_days, loaded.sources["retention.logs_days"]) == (14, "environment")
    assert (retention.traces_days, loaded.sources["retention.traces_days"]) == (3, "file")
    assert (retention.rollups_days, loaded.sources["retention.rollups_days"]) == (90, "default")


def test_toml_and_yaml_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('data_dir = "x"\n[log]\nmax_record_bytes = 65536\n')
    (tmp_path / "b.yml").write_text("data_dir: x\nlog:\n  max_record_bytes: 65536\n")

    assert load(tmp_path / "a.toml").config == load(tmp_path / "b.yml").config


def test_the_file_may_be_named_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("data_dir: here\n")
    monkeypatch.setenv("SLUICEWAY_CONFIG", str(tmp_path / "x.yaml"))

    assert load().config.data_dir == Path("here")


def test_a_list_in_the_environment_is_commas_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEWAY_INGEST__CORS_ORIGINS", "https://a.example, https://b.example")
    commas = load().config.ingest.cors_origins
    monkeypatch.setenv("SLUICEWAY_INGEST__CORS_ORIGINS", '["https://a.example", "https://b.example"]')

    assert commas == load().config.ingest.cors_origins == ("https://a.example", "https://b.example")


def test_a_broken_list_in_the_environment_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEWAY_INGEST__CORS_ORIGINS", '["https://a.example"')

    assert refusal().startswith("ingest.cors_origins (SLUICEWAY_INGEST__CORS_ORIGINS): must be JSON (")


def test_a_wrong_value_is_refused_with_field_rule_value_and_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEWAY_INGEST__GRPC_PORT", "70000")

    field = "ingest.grpc_port (SLUICEWAY_INGEST__GRPC_PORT)"
    assert refusal() == f"{field}: must be less than or equal to 65535; got '70000' from environment"


def test_a_wrong_value_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "sluiceway.yaml"
    file.write_text("log: {max_bytes: 5}\n")

    assert refusal() == (
        f"log.max_bytes (SLUICEWAY_LOG__MAX_BYTES): must be greater than or equal to 67108864; got 5 from {file}"
    )


def test_an_unknown_key_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "sluiceway.yaml").write_text("retention: {trace_days: 3}\n")

    assert refusal().startswith(
        "retention.trace_days: no setting has this name, did you mean retention.traces_days; got 3"
    )


def test_an_unknown_variable_is_refused_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEWAY_RETENTION__TRACE_DAYS", "3")

    assert refusal() == (
        "SLUICEWAY_RETENTION__TRACE_DAYS: no setting has this name, did you mean SLUICEWAY_RETENTION__TRACES_DAYS; "
        "got '3' from environment"
    )


def test_an_unknown_variable_that_sounds_secret_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEWAY_STORE__PASSWORD", "hunter2")

    assert "hunter2" not in refusal()


def test_all_wrong_settings_are_named_at_once_a_line_each(tmp_path: Path) -> None:
    (tmp_path / "sluiceway.yaml").write_text("log: {max_bytes: 5}\nstore: {http_port: x}\nretention: 7\nnope: 1\n")

    assert [line.split(":")[0].split(" ")[0] for line in sorted(refusal().splitlines())] == [
        "log.max_bytes", "nope", "retention", "store.http_port",
    ]  # fmt: skip


def test_a_rule_over_several_settings_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEWAY_INGEST__MAX_IN_FLIGHT_BYTES", "1048576")

    assert refusal().startswith("ingest: max_in_flight_bytes must hold one request")
    assert "\n" not in refusal()


@pytest.mark.parametrize("setting", [s for s in SETTINGS if is_address(s)], ids=lambda s: s.dotted)
def test_no_address_may_be_wider_than_loopback_by_itself(setting, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv(setting.env, "0.0.0.0")  # noqa: S104

    assert "loopback" in refusal()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])  # noqa: S104
def test_what_is_not_certainly_loopback_counts_as_wider(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEWAY_INGEST__GRPC_HOST", host)

    assert refusal().endswith(
        f"must be a loopback address unless listen_beyond_loopback is true; got {host!r} from environment"
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_addresses_are_allowed(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEWAY_INGEST__GRPC_HOST", host)

    assert load().config.ingest.grpc_host == host


def test_wider_addresses_are_allowed_when_said_explicitly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEWAY_INGEST__GRPC_HOST", "0.0.0.0")  # noqa: S104
    monkeypatch.setenv("SLUICEWAY_LISTEN_BEYOND_LOOPBACK", "true")

    assert load().config.ingest.grpc_host == "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("a.yaml", "log: [", "must be YAML"),
        ("a.yaml", "[" * 5000, "must be YAML"),
        ("a.yaml", "log: {max_bytes: 1}\nlog: {max_bytes: 2}\n", "key 'log' is given twice"),
        ("a.yaml", "!!python/object/apply:os.system ['true']", "must be YAML"),
        ("a.yaml", "- 1\n", "must be a mapping of names to values"),
        ("a.yaml", "1: 2\n", "must be a mapping of names to values"),
        ("a.yaml", "\x00", "must be YAML"),
        ("a.toml", "log = ", "must be TOML"),
        ("a.toml", "a = 1\na = 2\n", "must be TOML"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(name: str, text: str, rule: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)

    message = refusal(tmp_path / name)

    assert rule in message
    assert name in message
    assert "\n" not in message


def test_a_file_that_is_absent_or_too_large_is_refused(tmp_path: Path) -> None:
    assert "must be readable (No such file or directory)" in refusal(tmp_path / "absent.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    assert "must be at most 1048576 bytes" in refusal(tmp_path / "large.yaml")


def test_two_files_in_the_working_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "sluiceway.yaml").touch()
    (tmp_path / "sluiceway.toml").touch()

    assert "must be only one" in refusal()


@given(raw=st.binary(max_size=200))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_as_a_file_are_read_or_refused(raw: bytes, tmp_path: Path) -> None:
    for name in ("any.yaml", "any.toml"):
        (tmp_path / name).write_bytes(raw)
        refused = ""
        try:
            read_file(tmp_path / name)
        except ConfigurationError as error:
            refused = str(error)
        assert refused == "" or refused.startswith("config file: must be ")


def test_what_config_show_prints_is_a_file_that_says_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLUICEWAY_DATA_DIR", "it's: #odd")
    monkeypatch.setenv("SLUICEWAY_STORE__NATIVE_PORT", "9000")
    shown = load()
    (tmp_path / "shown.yaml").write_text("\n".join(render(shown)))
    monkeypatch.delenv("SLUICEWAY_DATA_DIR")
    monkeypatch.delenv("SLUICEWAY_STORE__NATIVE_PORT")

    assert load(tmp_path / "shown.yaml").config == shown.config


def test_config_show_tells_source_unit_and_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEWAY_LOG__MAX_BYTES", "100000000")

    assert "  max_bytes: 100000000  # environment, bytes, default 21474836480" in list(render(load()))


def test_secrets_are_masked_when_shown() -> None:
    from pydantic import SecretStr

    assert yaml.safe_load(inline(SecretStr("hunter2"))) == "**********"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.dotted)
def test_every_setting_has_a_meaning_and_a_default_that_obeys_its_own_rules(setting) -> None:  # type: ignore[no-untyped-def]
    assert (setting.field.description or "").endswith(".")
    assert not setting.field.is_required()
