"""The vendored chart library: as it was recorded, with what its authors ask for, and all of it in the wheel."""

from __future__ import annotations

import base64
import re
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from supply import charts
from tests.deployment.images import ROOT

MODULE = "echarts.esm.min.js"
ALLOWED = {"Apache-2.0", "BSD-3-Clause", "0BSD"}


def differing(folder: Path) -> set[str]:
    """Names of files that are not what the record says, are missing, or that it does not name."""
    wanted = charts.record()["sha256"] | {charts.RECORD.name: charts.sha256(charts.RECORD.read_bytes())}
    found = {path.name: charts.sha256(path.read_bytes()) for path in folder.iterdir()}
    return {name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)}


def test_every_file_is_the_one_that_was_recorded() -> None:
    assert differing(charts.FOLDER) == set()


@pytest.mark.parametrize("name", sorted(charts.record()["sha256"]))
def test_one_changed_missing_or_added_byte_is_seen(name: str, tmp_path: Path) -> None:
    for path in charts.FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert differing(tmp_path) == {name}
    (tmp_path / name).write_bytes(content + b"\n")
    assert differing(tmp_path) == {name}
    (tmp_path / name).unlink()
    (tmp_path / "more.js").touch()
    assert differing(tmp_path) == {name, "more.js"}


def test_the_record_names_what_the_module_was_built_from() -> None:
    packages = {each["name"]: each for each in charts.record()["packages"]}
    text = (charts.FOLDER / MODULE).read_text()

    assert set(packages) | {"d3"} == set(charts.LICENSES)
    # Both write their version into their code.
    assert set(re.findall(r'"(\d+\.\d+\.\d+)"', text)) >= {
        packages["echarts"]["version"],
        packages["zrender"]["version"],
    }
    for name in charts.TAKEN:
        digest = base64.b64decode(packages[name]["integrity"].removeprefix("sha512-"), validate=True)
        assert len(digest) == 64


def test_every_licence_is_agreed_to_and_its_text_is_there() -> None:
    texts = {path.name: path.read_text() for path in charts.FOLDER.iterdir()}

    assert {each["license"] for each in charts.record()["packages"]} <= ALLOWED
    assert "Apache License" in texts["LICENSE"]
    assert "The Apache Software Foundation" in texts["NOTICE"]
    assert "Mike Bostock" in texts["LICENSE-d3"]
    assert "Baidu" in texts["LICENSE-zrender"]
    # 0BSD asks for nothing; the notice of tslib is in the module all the same.
    assert "Microsoft Corporation" in texts[MODULE]


def test_the_viewer_loads_this_file_and_the_file_loads_nothing() -> None:
    viewer = (charts.FOLDER.parent / "viewer.js").read_text()

    assert re.findall(r'import\("([^"]+)"\)', viewer) == [f"/static/{charts.FOLDER.name}/{MODULE}"]
    text = (charts.FOLDER / MODULE).read_text()
    assert not re.search(r"\bimport\s*[({\"']|\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon", text)


def test_the_wheel_has_every_file_and_names_every_licence(wheel: Path, tmp_path: Path) -> None:
    inside = str(charts.FOLDER.relative_to(ROOT))
    with zipfile.ZipFile(wheel) as packed:
        for name in packed.namelist():
            if name.startswith(f"{inside}/"):
                (tmp_path / Path(name).name).write_bytes(packed.read(name))
        (metadata,) = (name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        about = Parser().parsestr(packed.read(metadata).decode())

    assert differing(tmp_path) == set()
    assert set(about["License-Expression"].split(" AND ")) == set(charts.LICENSES.values())
    files = {Path(name).name for name in about.get_all("License-File", ())}
    assert files == {"LICENSE", "NOTICE", "LICENSE-d3", "LICENSE-zrender"}
