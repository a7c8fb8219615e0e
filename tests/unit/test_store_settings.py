"""Where the store is: which settings go together, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, StoreUnavailableError
from schemas.settings import StoreSettings
from sluiceway.config import load
from sluiceway.store_access import Login, StoreAccess

URL = "https://store.example:8443"


def refusal(monkeypatch: pytest.MonkeyPatch, **values: str) -> str:
    for name, value in values.items():
        monkeypatch.setenv(f"SLUICEWAY_STORE__{name.upper()}", value)
    with pytest.raises(ConfigurationError) as caught:
        load()
    return str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["store:8123", "ftp://store", "http://", "http://store:0", "http://store:65536", "http://store/path",
     "http://store?a=b", "http://a b:1", "http://store:8123,http://other:8123", ""],
)  # fmt: skip
def test_a_url_that_is_no_base_url_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert refusal(monkeypatch, url=url) == (
        f"store.url (SLUICEWAY_STORE__URL): must be http://host:port or https://host:port; got {url!r} from environment"
    )


@pytest.mark.parametrize("url", ["http://store", "https://10.0.0.7:8443", "http://[::1]:8123", "http://a-b.c_d.e:1/"])
def test_a_base_url_is_taken(url: str) -> None:
    assert StoreSettings(url=url).url == url.rstrip("/")


def test_a_password_in_the_url_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(monkeypatch, url="http://ada:hunter2@store:8123")

    assert said == (
        "store.url (SLUICEWAY_STORE__URL): must hold no credentials: name them in store.user and store.password_file; "
        "got 'http://***@store:8123' from environment"
    )


def test_a_password_in_a_variable_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(monkeypatch, url=URL, password="hunter2")

    assert "SLUICEWAY_STORE__PASSWORD: no setting has this name" in said
    assert "hunter2" not in said


@pytest.mark.parametrize("name", ["user", "password_file", "reader_user", "reader_password_file", "ca_file"])
def test_what_belongs_to_a_url_is_refused_without_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert refusal(monkeypatch, **{name: "/some"}) == (
        f"store: {name} needs store.url: the embedded store has users of its own; got {name} alone"
    )


@pytest.mark.parametrize(
    ("name", "value"), [("binary", "/bin/true"), ("host", "::1"), ("http_port", "8124"), ("native_port", "9000")]
)
def test_what_belongs_to_the_embedded_store_is_refused_beside_a_url(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    assert refusal(monkeypatch, url=URL, **{name: value}) == (
        f"store: {name} is of the embedded store, which store.url replaces; got {name} {value} and url {URL}"
    )


def test_a_readers_password_needs_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, url=URL, reader_password_file="/r") == (
        "store: reader_password_file needs reader_user; got /r alone"
    )


def test_certificates_need_https(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, url="http://store", ca_file="/ca.pem") == (
        "store: ca_file needs an https url; got ca_file /ca.pem and url http://store"
    )


@pytest.mark.parametrize(
    ("settings", "compression"),
    [
        ({}, "none"),
        ({"url": URL}, "lz4"),
        ({"url": URL, "compression": "none"}, "none"),
        ({"compression": "lz4"}, "lz4"),
    ],
)
def test_inserts_are_compressed_on_a_network_and_not_over_loopback(
    settings: dict[str, str], compression: str, tmp_path: Path
) -> None:
    assert StoreAccess(StoreSettings.model_validate(settings), tmp_path).compression == compression


def test_a_password_is_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "password"
    login = Login("ada", file)
    with pytest.raises(StoreUnavailableError, match=r"password of ada cannot be read from .*: No such file"):
        login.password()
    file.write_text("first\n")
    assert login.password() == "first"
    file.write_text("second")
    assert login.password() == "second"
    file.write_bytes(b"\xff")
    with pytest.raises(StoreUnavailableError, match="not UTF-8 text"):
        login.password()


def test_without_a_password_file_there_is_no_password() -> None:
    assert Login("ada", None).password() == ""
