"""Our Kafka path: `sluiceway ingest`, a broker, `sluiceway process`, and a store of its own that is reached by URL.

Counted as `bench.collector` counts its peer: from the first request until every row is durable, rollups written, and
every table merged a last time. `python -m bench.kafka_path` prints both, round by round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from bench import collector, store
from bench.collector import MAX_MESSAGE_BYTES, KafkaPathCost, create_topic
from bench.end_to_end import TABLE, running
from bench.receive import send_file
from bench.rotel import store_pid, store_s
from bench.spans import SPREAD_NS, Dataset, make
from bench.usage import Meter
from schemas.settings import MIB, StoreSettings
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.store import EmbeddedStore
from sluiceway.embedded.users import WRITER
from tests.testbed.kafka_broker import Broker
from tests.testbed.parts import free_ports

PARTITIONS = 4


def _role(role: str, folder: Path, port: int, settings: Mapping[str, str]) -> contextlib.AbstractContextManager[int]:
    """`sluiceway ROLE` with only these settings, its probes on `port`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLUICEWAY_")} | settings
    environment |= {"SLUICEWAY_VIEWER__PORT": str(port)}
    return running([role], environment, folder / f"{role}.log", f"http://127.0.0.1:{port}/readyz")


def measure(dataset: Dataset, folder: Path, broker: Broker) -> KafkaPathCost:
    """Send the dataset once through ingest, broker, process and store.

    Raises:
        RuntimeError: other rows than the acknowledged spans are stored, in the base table or in the rollup.
        MissingPartError: there is no broker.
    """
    folder.mkdir(parents=True)
    grpc_port, http_port, store_port, *ports = free_ports(5)
    topics = {f"SLUICEWAY_KAFKA__{signal}_TOPIC": create_topic(broker, PARTITIONS) for signal in ("TRACES",)}
    settings = {
        **topics,
        # As in bench/end_to_end.py: a run of seconds would see it or not.
        "SLUICEWAY_SERVICE_MAP__ENABLED": "false",
        "SLUICEWAY_DATA_DIR": str(folder / "data"),
        "SLUICEWAY_KAFKA__METRICS_TOPIC": create_topic(broker, 1),
        "SLUICEWAY_KAFKA__LOGS_TOPIC": create_topic(broker, 1),
        "SLUICEWAY_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap,
        "SLUICEWAY_KAFKA__REPLICATION_FACTOR": "1",
        "SLUICEWAY_KAFKA__MIN_INSYNC_REPLICAS": "1",
        "SLUICEWAY_KAFKA__MAX_MESSAGE_BYTES": str(MAX_MESSAGE_BYTES),
        "SLUICEWAY_INGEST__GRPC_PORT": str(grpc_port),
        "SLUICEWAY_INGEST__HTTP_PORT": str(http_port),
        "SLUICEWAY_STORE__URL": f"http://127.0.0.1:{store_port}",
        "SLUICEWAY_STORE__USER": WRITER,
        "SLUICEWAY_STORE__PASSWORD_FILE": str(StoreFolder(folder / "store").secret),
    }
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(
            EmbeddedStore(folder / "store", StoreSettings(http_port=store_port, max_memory_bytes=4096 * MIB))
        )
        client = store.connect(engine.url, engine.writer_user, engine.writer_password)
        stack.callback(client.close)
        # Processors first: they bring the schema up to date, and are ready when the decoder is.
        to_store = stack.enter_context(_role("process", folder, ports[0], settings))
        to_kafka = stack.enter_context(_role("ingest", folder, ports[1], settings))
        address = f"127.0.0.1:{grpc_port}"
        send_file(address, dataset.warm_up)
        rows = f"{TABLE} WHERE ServiceName != 'sluiceway'"
        store.await_rows(client, rows, dataset.warm_up_spans)
        store.await_merges(client)
        meters = {
            name: Meter(pid)
            for name, pid in {
                "to_kafka": to_kafka, "broker": broker.pid, "from_kafka": to_store, "store": store_pid(engine),
            }.items()
        }  # fmt: skip
        started_s = time.monotonic()
        send_file(address, dataset.path)
        expected = dataset.warm_up_spans + dataset.spans
        store.await_rows(client, rows, expected)
        elapsed_s = time.monotonic() - started_s
        used = {name: meter.total_s() for name, meter in meters.items()}
        for meter in meters.values():
            meter.close()
        inserted_s, final_s = store_s(client, meters["store"], dataset)
        calls = store.number(client, "SELECT sum(Calls) FROM otel.spans_1m WHERE ServiceName != 'sluiceway'")
        if calls != expected:
            raise RuntimeError(f"spans_1m: must count {expected} calls, counts {calls}")
    return KafkaPathCost(
        used["to_kafka"], used["broker"], used["from_kafka"], inserted_s, final_s, dataset.spans, elapsed_s
    )


def parts(cost: KafkaPathCost) -> dict[str, float]:
    """Microseconds a span of each process."""
    return {
        "to_kafka": cost.us(cost.to_kafka_s),
        "broker": cost.us(cost.broker_s),
        "from_kafka": cost.us(cost.from_kafka_s),
        "store": cost.us(cost.store_s),
        "final_merge": cost.us(cost.final_merge_s),
        "total_without_broker": cost.us_per_span,
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.kafka_path", description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="requests of 512 spans; default 1000")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ours-only", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-kafka-") as name:
        folder = Path(name)
        dataset = make(folder / "spans", options.requests, seed=7, first_start_ns=time.time_ns() - SPREAD_NS)
        with Broker(folder / "broker", long_lived=True) as broker:
            for number in range(options.rounds):
                ours = measure(dataset, folder / f"ours-{number}", broker)
                print(json.dumps({"ours": parts(ours)}), flush=True)
                if not options.ours_only:
                    peer = collector.measure(dataset, folder / f"collector-{number}", broker)
                    print(json.dumps({"collector": parts(peer)}), flush=True)
                    print(json.dumps({"over_collector": ours.us_per_span / peer.us_per_span}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
