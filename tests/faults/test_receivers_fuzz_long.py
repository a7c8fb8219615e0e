"""Edited bytes by the thousands, or millions, on both receivers and on each part of them.

Every answer is a success or the client's fault; every connection ends; no exception goes uncaught; memory is bounded;
what was acknowledged is in the real log, once and well-formed, and nothing else is. The layers' docstrings say what an
input is in each. `SLUICEWAY_FUZZ_INPUTS` sets the number of inputs of the long run and `SLUICEWAY_FUZZ_SEED` its seed.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.validate import warm_up
from tests.faults import fuzz_below_sockets, fuzz_grpc, fuzz_http
from tests.faults.fuzz_oracle import Complaints, resident_mib

Layer = Callable[[random.Random, int, Path], int]
# Inputs of each layer in a run of ten million: what passes a socket costs 5 to 50 times what does not.
LAYERS: dict[Layer, int] = {
    fuzz_grpc.grpc_frames: 20_000,
    fuzz_grpc.grpc_calls: 50_000,
    fuzz_grpc.grpc_streams: 180_000,
    fuzz_http.http_streams: 100_000,
    fuzz_http.http_requests: 500_000,
    fuzz_below_sockets.http_protocol: 550_000,
    fuzz_below_sockets.reception: 4_200_000,
    fuzz_below_sockets.json: 2_000_000,
    fuzz_below_sockets.decompression: 2_400_000,
}
BOUNDED: dict[Layer, int] = {
    fuzz_grpc.grpc_frames: 100,
    fuzz_grpc.grpc_calls: 300,
    fuzz_grpc.grpc_streams: 640,
    fuzz_http.http_streams: 200,
    fuzz_http.http_requests: 640,
    fuzz_below_sockets.http_protocol: 500,
    fuzz_below_sockets.reception: 5000,
    fuzz_below_sockets.json: 4000,
    fuzz_below_sockets.decompression: 5000,
}
GROWTH_MIB = 256


def run(layer: Layer, seed: int, inputs: int, folder: Path) -> int:
    folder.mkdir(exist_ok=True)
    warm_up()
    before = resident_mib()
    with Complaints() as complaints:
        done = layer(random.Random(seed), inputs, folder)
    assert complaints.told == []
    assert resident_mib() - before < GROWTH_MIB
    assert done >= inputs
    return done


@pytest.mark.parametrize("layer", BOUNDED, ids=lambda layer: layer.__name__)
def test_edited_bytes_are_answered_well_and_leave_only_what_was_acknowledged(layer: Layer, tmp_path: Path) -> None:
    run(layer, 1, BOUNDED[layer], tmp_path)


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)
def test_ten_million_edited_inputs_are_answered_well_and_leave_only_what_was_acknowledged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = int(os.environ.get("SLUICEWAY_FUZZ_INPUTS", "10000000"))
    seed = int(os.environ.get("SLUICEWAY_FUZZ_SEED", str(random.SystemRandom().randrange(2**32))))
    total = 0
    for layer, share in LAYERS.items():
        started = time.monotonic()
        # gRPC's library tells stderr of every frame that it cannot read: captured, and shown when this fails.
        with capsys.disabled():
            print(f"\n{layer.__name__} (seed {seed})", end="", flush=True)
        done = run(layer, seed, -(-share * inputs // 10_000_000), tmp_path / layer.__name__)
        took_s = time.monotonic() - started
        with capsys.disabled():
            print(f" {done:,} inputs, {took_s:.0f} s, {resident_mib():.0f} MiB resident", end="", flush=True)
        total += done
    with capsys.disabled():
        print(f"\n{total:,} inputs")
    assert total >= inputs
