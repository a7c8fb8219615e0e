"""`python -m tests.testbed`: fetch and build every part now, so that no test's time bound meets it."""

from __future__ import annotations

import sys
import time

from tests.testbed import clickhouse_clients, collector, compiled, go_tools, kafka_broker, strimzi_definitions
from tests.testbed.parts import MissingPartError

PARTS = {
    "our own compiled code": compiled.code,
    "Kafka broker": kafka_broker.jars,
    "OpenTelemetry Collector": collector.binary,
    "kustomize": go_tools.kustomize,
    "Compose's parser": go_tools.compose_spec,
    "KEDA's definitions": go_tools.keda_definitions,
    "Strimzi's definitions": strimzi_definitions.definitions,
    "clickhouse-go": clickhouse_clients.go_reader,
    "clickhouse-go 2.43": clickhouse_clients.oldest_go_reader,
    "ClickHouse's JDBC driver": clickhouse_clients.jdbc_reader,
}


def main() -> int:
    """Make what is not in the cache yet; 1 when this machine lacks something."""
    code = 0
    for name, make in PARTS.items():
        started_s = time.monotonic()
        try:
            print(f"{name}: {make()} ({time.monotonic() - started_s:.0f} s)", flush=True)
        except MissingPartError as missing:
            print(f"{name}: {missing}", file=sys.stderr, flush=True)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
