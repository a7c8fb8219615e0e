"""What goes wrong, when, whose it is, and what a page must name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.outcomes.rows import During, Script

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
# A Monday, 00:00 UTC.
WEEK_FROM_S = 1_767_571_200
WEEK_TO_S = WEEK_FROM_S + 7 * DAY_S
_LASTS_S = 20 * MINUTE_S
_FIRST_S = WEEK_TO_S + 9 * HOUR_S
# Apart by more than the hour that anomalies are compared with.
_EVERY_S = 100 * MINUTE_S


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident. `names` must be in what the page says; `team` is who must be paged first."""

    title: str
    from_s: int
    team: str
    names: Sequence[str]


def _at(number: int) -> int:
    return _FIRST_S + number * _EVERY_S


def _during(number: int, value: str) -> During:
    return During(_at(number), _at(number) + _LASTS_S, value)


INCIDENTS: Sequence[Incident] = (
    Incident("failing dependency", _at(0), "payments", ["api.bank.example", "connection refused"]),
    Incident("saturation", _at(1), "shop", ["system.cpu.utilization", "cart-2"]),
    Incident("error spike in one zone", _at(2), "logistics", ["cloud.availability_zone=eu-1c"]),
    Incident("silent service", _at(3), "crm", ["email"]),
    Incident("log flood", _at(4), "shop", ["cart", "cache miss for key"]),
    Incident("pipeline outage", _at(5), "infra", ["stored"]),
    Incident("expired certificate", _at(6), "logistics", ["labels.carrier.example", "certificate has expired"]),
    Incident("slow release", _at(7), "payments", ["payment", "2.0.0"]),
)
DAY_TO_S = _at(8)
_RELEASES = (
    # Good ones, in working hours; two of a day, and one that was rolled back for no fault of its calls.
    ("frontend", "1.1.0", WEEK_FROM_S + 10 * HOUR_S),
    ("checkout", "1.1.0", WEEK_FROM_S + 1 * DAY_S + 14 * HOUR_S),
    ("payment", "1.1.0", WEEK_FROM_S + 2 * DAY_S + 9 * HOUR_S + 1800),
    ("cart", "1.1.0", WEEK_FROM_S + 3 * DAY_S + 15 * HOUR_S),
    ("cart", "1.0.0", WEEK_FROM_S + 3 * DAY_S + 16 * HOUR_S),
    ("frontend", "1.2.0", WEEK_FROM_S + 4 * DAY_S + 11 * HOUR_S),
)
SCRIPT = Script(
    deployments=(*_RELEASES, ("payment", "2.0.0", _at(7)), ("payment", "1.1.0", _at(7) + _LASTS_S)),
    changes={
        "bank_fails": _during(0, "0.6"),
        "cart_cpu": _during(1, "0.99"),
        "shipping_fails": _during(2, "if(zone = 'eu-1c', 0.7, 0.002)"),
        "email_away": _during(3, "true"),
        "log_records": _during(4, "4000"),
        "away": _during(5, "true"),
        "label_fails": _during(6, "1.0"),
        "payment_slower_ms": _during(7, "800"),
    },
)
