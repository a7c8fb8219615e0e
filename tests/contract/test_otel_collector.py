"""The Collector that other tests rely on is a real one: it holds what the manifest names, starts, stops, refuses."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
import yaml

from tests.otel_collector import require_collector
from tests.testbed import collector
from tests.testbed.collector import MANIFEST, Collector
from tests.testbed.collector_configs import otlp_in, pipelines
from tests.testbed.parts import PartFailedError, free_ports


@pytest.fixture(autouse=True)
def _collector() -> None:
    require_collector()


def test_it_holds_the_modules_of_the_manifest_in_their_versions() -> None:
    printed = collector.components()
    manifest = yaml.safe_load(MANIFEST.read_text())
    named = [
        entry["gomod"] for kind in ("extensions", "receivers", "processors", "exporters") for entry in manifest[kind]
    ]

    assert len(named) == 9
    assert [module for module in named if module not in printed] == []


def test_it_starts_answers_and_ends_in_order(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with Collector(tmp_path, pipelines(otlp_in(port), {"debug": {}})) as running:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(30)

        running.stop()

        assert not running.running
        assert "Shutdown complete" in running.log.read_text()


def test_it_refuses_a_configuration_that_it_could_not_run(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(pipelines(otlp_in(1), {"nowhere": {}})))

    with pytest.raises(PartFailedError, match="nowhere"):
        collector.validate(file)
