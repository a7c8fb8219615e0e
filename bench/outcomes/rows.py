"""The shop's telemetry over a stretch of time, written into a store: spans, log records, gauges, the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources

from clickhouse_connect.driver.client import Client

SERVICES = ("frontend", "checkout", "cart", "payment", "shipping", "email")
_MINUTES_OF_AN_INSERT = 360


@dataclass(frozen=True, slots=True)
class During:
    """An SQL value while it is between two moments (Unix seconds), and one otherwise."""

    from_s: int
    to_s: int
    value: str

    def sql(self, otherwise: str) -> str:
        """As an expression of `t`, `zone` and `version`."""
        return f"if(t >= {self.from_s} AND t < {self.to_s}, {self.value}, {otherwise})"


@dataclass(frozen=True, slots=True)
class Script:
    """What happens when.

    Attributes:
        deployments: service, version, moment (Unix seconds), in order of time for each service.
        changes: by the name of a bracket in `shop.sql`, or of `log_records` and `cart_cpu` here.
    """

    deployments: Sequence[tuple[str, str, int]] = ()
    changes: dict[str, During] = field(default_factory=dict)

    def sql(self, name: str, otherwise: str) -> str:
        """A bracket's text."""
        return self.changes[name].sql(otherwise) if name in self.changes else otherwise

    @property
    def versions(self) -> str:
        """Branches of a `multiIf` that chooses a span's version."""
        latest_first = sorted(self.deployments, key=lambda each: -each[2])
        return "".join(
            f"span.3 = '{service}' AND t >= {at_s}, '{version}', " for service, version, at_s in latest_first
        )


def write(client: Client, script: Script, from_s: int, to_s: int) -> None:
    """Insert everything between two whole minutes (Unix seconds), as a pipeline would have stored it."""
    shop = resources.files("bench.outcomes").joinpath("shop.sql").read_text("utf-8")
    away = script.sql("away", "false")
    brackets = {
        "payment_slower_ms": script.sql("payment_slower_ms", "0"),
        "bank_fails": script.sql("bank_fails", "0.001"),
        "label_fails": script.sql("label_fails", "0.001"),
        "shipping_fails": script.sql("shipping_fails", "0.002"),
        "email_away": script.sql("email_away", "false"),
        "away": away,
        "versions": script.versions,
    }
    for start_s in range(from_s, to_s, 60 * _MINUTES_OF_AN_INSERT):
        minutes = min(_MINUTES_OF_AN_INSERT, (to_s - start_s) // 60)
        client.command(shop.format(from_s=start_s, minutes=minutes, **brackets))
        client.command(
            _LOGS.format(from_s=start_s, minutes=minutes, away=away, records=script.sql("log_records", "20"))
        )
        client.command(_CPU.format(from_s=start_s, minutes=minutes, away=away, cart_cpu=script.sql("cart_cpu", "used")))
        client.command(_LEDGER.format(from_s=start_s, minutes=minutes, away=away))


_SERVICES = "[" + ", ".join(f"'{service}'" for service in SERVICES) + "]"
_LOGS = f"""INSERT INTO otel_logs (Timestamp, SeverityText, SeverityNumber, ServiceName, Environment, Body)
    SELECT toDateTime64(t + 60 * i / records, 9), 'INFO', 9, service, 'prod',
        if(records > 1000 AND i % 20 != 0, concat('cache miss for key ', toString(i)),
            concat('took ', toString(i), ' ms'))
    FROM (SELECT toUInt32({{from_s}} + 60 * number) AS t, arrayJoin({_SERVICES}) AS service,
        toUInt64(if(service = 'cart', {{records}}, 20)) AS records FROM numbers({{minutes}}) WHERE NOT ({{away}}))
    ARRAY JOIN range(records) AS i"""
_CPU = f"""INSERT INTO otel_metrics_gauge (MetricName, MetricUnit, TimeUnix, ServiceName, Environment,
        ResourceAttributes, Attributes, Value)
    SELECT 'system.cpu.utilization', '1', toDateTime64(t, 9), service, 'prod',
        map('service.name', service, 'host.name', concat(service, '-', toString(host))), map('cpu.mode', mode),
        if(mode = 'user', if(service = 'cart' AND host = 2, {{cart_cpu}}, used), 0.02)
    FROM (SELECT toUInt32({{from_s}} + 60 * number) AS t, arrayJoin({_SERVICES}) AS service,
        arrayJoin([1, 2]) AS host, arrayJoin(['user', 'system']) AS mode,
        0.35 + 0.2 * sin((t % 86400 / 3600 - 9) / 24 * 2 * pi()) + 0.1 * (cityHash64(t, service, host) % 1000 / 1000)
            AS used FROM numbers({{minutes}}) WHERE NOT ({{away}}))"""
_LEDGER = """INSERT INTO ledger (Time, LogId, Signal, TableName, Received, Stored)
    SELECT toDateTime(t), 'log', 'traces', if(half = 0, '', 'otel_traces'), if(half = 0, 100, 0), if(half = 0, 0, 100)
    FROM (SELECT {from_s} + 20 * number AS t, arrayJoin([0, 1]) AS half FROM numbers({minutes} * 3)
        WHERE NOT ({away}))"""
