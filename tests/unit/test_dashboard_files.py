"""Generated files: in git as they are generated, written and compared by a command that touches nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dashboards.files import BOARDS, generated
from dashboards.slo.files import read
from schemas.settings import StoreSettings
from tests.command_line import run

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "dashboards" / "generated"


def test_the_files_in_git_are_those_that_are_defined() -> None:
    made = generated("h", 1, "d", "u", "/p", objectives=read(ROOT / "slos"))
    files = {path.name: text for path, text in made.items() if path.suffix == ".json"}
    assert {file.name: file.read_text("utf-8") for file in GENERATED.glob("*.json")} == files, "`make golden`"


def test_files_are_written_once_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("dashboards", "diff") == 1
    assert "+++ grafana/dashboards/sluiceway/sluiceway-fleet.json (generated)" in capsys.readouterr().out
    assert not Path("grafana").exists()
    assert run("dashboards", "generate") == 0
    assert capsys.readouterr().out.count("wrote") == len(BOARDS) + 3
    assert run("dashboards", "diff") == 0
    assert run("dashboards", "generate") == 0
    assert "wrote" not in capsys.readouterr().out
    folder = Path("grafana/dashboards/sluiceway")
    (folder / "sluiceway-old.json").write_text("{}")
    (folder / "theirs.json").write_text("{}")
    (folder / "sluiceway-fleet.json").write_text("{}")
    assert run("dashboards", "diff") == 1
    assert "would be removed: grafana/dashboards/sluiceway/sluiceway-old.json" in capsys.readouterr().out
    assert run("dashboards", "generate") == 0
    assert sorted(file.name for file in folder.iterdir()) == sorted(
        ["theirs.json", *(f"{board.uid}.json" for board in BOARDS)]
    )
    assert json.loads((folder / "sluiceway-fleet.json").read_text())["title"] == "Fleet"


def test_the_data_source_is_the_configured_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICEWAY_STORE__URL", "https://ch.example.org")
    monkeypatch.setenv("SLUICEWAY_STORE__READER_USER", "grafana")
    monkeypatch.setenv("SLUICEWAY_STORE__DATABASE", "telemetry")
    assert run("dashboards", "generate", "--to", "out", "--dashboards-path", "/boards") == 0
    [source] = yaml.safe_load(Path("out/datasources/sluiceway.yaml").read_text())["datasources"]
    data = source["jsonData"]
    assert (data["host"], data["port"], data["secure"]) == ("ch.example.org", 8443, True)
    assert (data["username"], data["defaultDatabase"]) == ("grafana", "telemetry")
    # The plugin asks for five seconds more than its deadline.
    assert int(data["queryTimeout"]) + 5 <= StoreSettings().reader_max_execution_s
    [provider] = yaml.safe_load(Path("out/dashboards/sluiceway.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "/boards"
    assert "password" not in Path("out/datasources/sluiceway.yaml").read_text()
