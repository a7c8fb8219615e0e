"""`python -m bench`: every measure once or a few times, as a table and in build/bench.json."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import collector, end_to_end, kafka_client, kafka_path, questions, receive, report, rotel, small, spans
from bench.progress import say
from tests.testbed import collector as otel_collector
from tests.testbed import kafka_broker
from tests.testbed.parts import MissingPartError

OUT = Path("build/bench.json")


def _decode(path: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.decode", str(path)], check=True, stdout=subprocess.PIPE, text=True
    )
    printed: dict[str, float] = json.loads(done.stdout)
    return printed


def _round(dataset: spans.Dataset, folder: Path, number: int) -> report.Round:
    ours = end_to_end.measure(dataset, folder / f"ours-{number}")
    say(f"end to end: {ours.us_per_span:.2f} us a span")
    without = end_to_end.measure(dataset, folder / f"without-{number}", rollups=False)
    say(f"without rollups: {without.us_per_span:.2f} us a span")
    peer = rotel.measure(dataset, folder / f"rotel-{number}")
    say(f"Rotel: {peer.us_per_span:.2f} us a span")
    identical = rotel.measure_identical_table(dataset, folder / f"stock-{number}")
    say(f"our blocks in the stock table: {identical.us_per_span:.2f} us a span in the store")
    return report.Round(ours, without, peer, identical)


def _kafka_rounds(dataset: spans.Dataset, folder: Path, rounds: int) -> list[report.KafkaRound]:
    try:
        kafka_broker.jars()
        otel_collector.binary()
    except MissingPartError as missing:
        say(f"the Kafka path is left out: {missing}")
        return []
    with kafka_broker.Broker(folder / "broker", long_lived=True) as broker:
        return [_kafka_round(dataset, folder, broker, number) for number in range(rounds)]


def _kafka_round(dataset: spans.Dataset, folder: Path, broker: kafka_broker.Broker, number: int) -> report.KafkaRound:
    ours = kafka_path.measure(dataset, folder / f"kafka-{number}", broker)
    say(f"through Kafka: {ours.us_per_span:.2f} us a span without the broker")
    peer = collector.measure(dataset, folder / f"collector-{number}", broker)
    say(f"two Collectors: {peer.us_per_span:.2f} us a span without the broker")
    return report.KafkaRound(ours, peer, kafka_client.measure(dataset, broker))


def main() -> int:
    """Command line; exit code 0 whatever the figures are, for they depend on the machine."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="requests of 512 spans; default 1000")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of what goes through a store; default 3")
    parser.add_argument("--items", type=int, default=10_000_000, help="of the week that is asked; default 10,000,000")
    parser.add_argument("--out", type=Path, default=OUT, help=f"default {OUT}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        say("making spans")
        first_start_ns = time.time_ns() - spans.SPREAD_NS
        dataset = spans.make(folder / "spans", options.requests, seed=7, first_start_ns=first_start_ns)
        print(report.describe(dataset))
        print(f"peer: {rotel.version()}; machine: {os.cpu_count()} CPUs, Python {platform.python_version()}")
        say("decode")
        decoded = _decode(dataset.path)
        say("receive and append")
        received = [receive.measure(dataset) for _ in range(options.rounds)]
        small_ones = [small.measure(folder / "small", 4 * options.requests) for _ in range(options.rounds)]
        rounds = [_round(dataset, folder, number) for number in range(options.rounds)]
        asked = questions.measure(options.items, folder / "week")
        kafka_rounds = _kafka_rounds(dataset, folder, options.rounds)
    found = report.figures(decoded, received, small_ones, rounds) | report.kafka_figures(kafka_rounds)
    found |= questions.figures(asked)
    print(report.table(found))
    report.write(
        options.out, {**found, "spans": dataset.spans, "bytes_a_span": dataset.bytes_a_span, "peer": rotel.version()}
    )
    print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
