"""Several times more than ingest takes: bounded memory, refusals that say when to come back, what is acked stored."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from schemas.settings import MIB
from tests.faults.cluster import Member, deployment
from tests.faults.conftest import Engines

_IN_FLIGHT_BYTES = 8 * MIB
_SETTINGS = {
    "INGEST__MAX_IN_FLIGHT_BYTES": str(_IN_FLIGHT_BYTES),
    "INGEST__MAX_BODY_BYTES": str(MIB),
    "INGEST__MAX_DECOMPRESSED_BYTES": str(MIB),
    "INGEST__MAX_JSON_MEMORY_BYTES": str(MIB),
    # Few, so that a slow machine, too, refuses far more than it takes.
    "INGEST__MAX_CONCURRENT_REQUESTS": "4",
}
# What Python, gRPC and the Kafka client keep on top: arenas, threads, copies under way. Measured: 20 MiB in all.
_SLACK_BYTES = 64 * MIB

# A start compiles the decoder where nobody has, and machines are busy.
pytestmark = pytest.mark.timeout(900)


def resident_bytes(member: Member, what: str) -> int:
    found = re.search(rf"^{what}:\s+(\d+) kB$", Path(f"/proc/{member.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def flood(folder: Path, engines: Engines, seconds: float) -> None:
    with deployment(
        folder / "sluiceway", engines.broker.bootstrap, engines.store, processors=1, settings=_SETTINGS
    ) as running:
        running.start()
        running.load(sdk=False)
        running.recovered()
        [ingest] = running.ingests
        before_bytes = resident_bytes(ingest, "VmRSS")
        counted = running.overload(clients=60)
        ends_s = time.monotonic() + seconds
        samples = []
        while time.monotonic() < ends_s:
            samples.append(resident_bytes(ingest, "VmRSS"))
            time.sleep(0.2)
        peak_bytes = resident_bytes(ingest, "VmHWM")
        running.stop_loads()
        requests = json.loads(counted.read_text())
        running.load(sdk=False)
        running.await_acks("acknowledgements of a usual load after the overload")
        proof = running.prove()
    taken = requests["sent"] - requests["refused"]
    middle, end = samples[len(samples) // 2], samples[-1]
    print(
        f"\n{seconds:.0f} s of overload: {requests['sent']} requests, {requests['sent'] / max(1, taken):.1f} times "
        f"what was taken; items: {proof}; resident memory of ingest, MiB: {before_bytes / MIB:.0f} before, "
        f"{middle / MIB:.0f} at half time, {end / MIB:.0f} at the end, {peak_bytes / MIB:.0f} at most"
    )
    assert proof.wrong == []
    assert proof.acked > 0
    assert requests["sent"] >= 5 * taken
    assert peak_bytes < before_bytes + 4 * _IN_FLIGHT_BYTES + _SLACK_BYTES


@pytest.mark.slow
def test_overload_is_refused_within_bounded_memory_and_what_is_acked_is_stored_once(
    engines: Engines, tmp_path: Path
) -> None:
    flood(tmp_path, engines, 10)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_two_minutes_of_overload_are_refused_within_bounded_memory_and_what_is_acked_is_stored_once(
    engines: Engines, tmp_path: Path
) -> None:
    flood(tmp_path, engines, 120)
