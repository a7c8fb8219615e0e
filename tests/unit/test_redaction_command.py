"""`sluiceway redaction`: rules are tried on the log without changing anything, and hashes can be found again."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from ingest.sqlite_log import SqliteLogWriter
from processors.guard.texts import hashed
from schemas.log import Entry
from schemas.settings import LogSettings
from tests.command_line import run

RULES = """
data_dir: {folder}
guard:
  hash_key_file: {folder}/key
  redaction:
    - {{name: mail, action: hash, pattern: '[a-z]+@[a-z.]+'}}
    - {{name: tokens, action: drop, attributes: ["*.token"]}}
    - {{name: hosts, action: mask, attributes: [host.name], where: [resource]}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text("a key of sixteen bytes\n")
    (tmp_path / "key").chmod(0o400)
    (tmp_path / "sluiceway.yaml").write_text(RULES.format(folder=tmp_path))
    (tmp_path / "log").mkdir()
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.add(key="host.name").value.string_value = "node-7"
    for name in ("ann", "bob"):
        record = group.scope_logs.add().log_records.add()
        record.body.string_value = f"login of {name}@example.org failed"
        record.attributes.add(key="auth.token").value.string_value = "s3cr3t"
        record.attributes.add(key="kept").value.string_value = "as it is"
    writer = SqliteLogWriter(tmp_path / "log" / "log.sqlite", LogSettings(), disk_reserve_bytes=0)
    writer.append([Entry("otlp_logs", request.SerializeToString(), items=2, received_at_ns=1)])
    writer.append([Entry("otlp_logs", b"\x0a\x7f", items=1, received_at_ns=1)])
    writer.close()
    return tmp_path


def test_a_preview_says_what_would_change_and_shows_no_secret(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "log" / "log.sqlite").read_bytes()
    assert run("redaction", "preview", "--signal", "logs") == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert ["logs", "tokens", "log", "auth.token", "2", "(dropped)"] in lines
    assert ["logs", "hosts", "resource", "host.name", "2", "****"] in lines
    [mail] = [line for line in lines if "mail" in line]
    assert mail[:4] == ["logs", "mail", "body", "2"]
    assert lines[-1] == ["looked", "at", "2", "items", "of", "logs;", "nothing", "was", "changed"]
    assert "s3cr3t" not in out
    assert "@example" not in out
    assert err == "logs: 1 records are malformed and were left out\n"
    assert (folder / "log" / "log.sqlite").read_bytes() == before


def test_values_are_shown_when_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("redaction", "preview", "--show-values") == 0
    out = capsys.readouterr().out
    assert "s3cr3t" in out
    assert "@example.org failed" in out


def test_a_hash_can_be_found_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("redaction", "hash", "ann@example.org") == 0
    shown = capsys.readouterr().out.strip()
    assert shown == hashed(pa.array(["ann@example.org"]), b"a key of sixteen bytes")[0].as_py()


TRIED = """
data_dir: {folder}
guard:
  hash_key_file: {folder}/key
  redaction:
    - {{name: first, action: hash, pattern: 'login', where: [body]}}
    - {{name: second, action: hash, pattern: 'failed', where: [body]}}
    - {{name: keys, action: mask, pattern: '^auth', where: [key]}}
    - {{name: bytes, action: mask, pattern: 'n secret', where: [log]}}
    - {{name: scopes, action: drop, pattern: x, where: [scope.name, severity_text]}}
"""


def test_names_bytes_and_each_rule_after_the_others_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "sluiceway.yaml").write_text(TRIED.format(folder=folder))
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add().scope_logs.add()
    group.scope.name = "xyz"
    record = group.log_records.add(severity_text="xINFO")
    record.body.string_value = "login failed"
    record.attributes.add(key="auth").value.bytes_value = b"an secret in bytes"
    writer = SqliteLogWriter(folder / "log" / "log.sqlite", LogSettings(), disk_reserve_bytes=0)
    writer.append([Entry("otlp_logs", request.SerializeToString(), items=1, received_at_ns=2)])
    writer.close()
    assert run("redaction", "preview", "--signal", "logs", "--records", "1", "--show-values") == 0
    login, failed = (hashed(pa.array([text]), b"a key of sixteen bytes")[0].as_py() for text in ("login", "failed"))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[1:-1] == [
        f"logs first body 1 login failed {login} failed",
        f"logs second body 1 {login} failed {f'{login} {failed}'[:60]}",
        "logs keys key 1 auth ****",
        "logs bytes log **** 1 an secret in bytes a**** in bytes",
        "logs scopes scope.name 1 xyz",
        "logs scopes severity_text 1 xINFO",
    ]


ENV = "(SLUICEWAY_GUARD__REDACTION)"


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (
            "redaction: [{name: a, action: mask, pattern: '('}]",
            f"guard.redaction[0].pattern {ENV}: must be a regular expression of RE2",
        ),
        (
            "redaction: [{name: a, action: hash, pattern: 'x'}]",
            "guard: hash_key_file: must be set for rules that hash; rule 'a' does",
        ),
        (
            "redaction: [{name: a, action: wipe, pattern: 'x'}]",
            f"guard.redaction[0].action {ENV}: must be 'drop', 'mask' or 'hash'; got 'wipe'",
        ),
        (
            "redaction: [{name: a, action: mask, pattern: x}, {name: a, action: drop, pattern: x}]",
            "redaction: names of rules must differ; received 'a' twice",
        ),
        (
            "hash_key_file: missing, redaction: [{name: a, action: hash, pattern: x}]",
            "guard.hash_key_file: must be readable",
        ),
        (
            "hash_key_file: short, redaction: [{name: a, action: hash, pattern: x}]",
            "guard.hash_key_file: must hold at least 16 bytes; got 5",
        ),
        ("", "guard.redaction: must have a rule to preview; got none"),
    ],
)
def test_wrong_settings_are_refused_by_field_and_rule(
    folder: Path, capsys: pytest.CaptureFixture[str], rules: str, said: str
) -> None:
    (folder / "short").write_text("short")
    (folder / "short").chmod(0o600)
    (folder / "sluiceway.yaml").write_text(f"guard: {{{rules}}}")
    assert run("redaction", "preview", "--data-dir", str(folder)) == 2
    assert said in capsys.readouterr().err
