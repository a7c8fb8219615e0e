"""Who is told of which alert: one list of routes from the ownership file, rendered for whoever routes.

As an Alertmanager routes: the first route whose matchers all match takes an alert, and the one after it too where it
says so; hours mute a route, and do not make it match less.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dashboards.alerts.owners import Owners, Receiver
from dashboards.alerts.rule import Severity

GROUP_BY = ("service", "rule")
# The label of a page that nobody acknowledged in time: to how many teams further it went.
ESCALATION = "escalation"
# Notices of one cause arrive together; a storm of them is one page. Shorter intervals are a storm by themselves.
GROUP_WAIT, GROUP_INTERVAL, REPEAT = "30s", "5m", "4h"
SEVERITIES: Sequence[Severity] = ("page", "ticket")


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label; a label that is missing is ''. Regular expressions match the whole value."""

    label: str
    operator: Literal["=", "!=", "=~", "!~"]
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels meets it."""
        found = labels.get(self.label, "")
        same = found == self.value if self.operator[-1] == "=" else re.fullmatch(self.value, found) is not None
        return same != self.operator.startswith("!")


@dataclass(frozen=True, slots=True)
class Route:
    """Sends alerts that match to a team's receiver of a severity.

    Attributes:
        during: the team in whose hours it is open; None is always.
        outside: the team outside whose hours it is open; None is always.
        goes_on: whether the next route that matches takes the alert too.
    """

    matchers: tuple[Matcher, ...]
    team: str
    severity: Severity
    during: str | None = None
    outside: str | None = None
    goes_on: bool = False

    @property
    def receiver(self) -> str:
        """The receiver's name."""
        return receiver_name(self.team, self.severity)

    def is_open(self, owners: Owners, at: dt.datetime) -> bool:
        """Whether it tells anybody at a moment."""
        during, outside = (owners.teams[team].hours if team else None for team in (self.during, self.outside))
        return (during is None or during.include(at)) and (outside is None or not outside.include(at))


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While an alert of `source` fires, those of `target` whose `equal` labels are the same tell nobody."""

    source: Matcher
    target: Matcher
    equal: tuple[str, ...] = ()


INHIBITIONS: Sequence[Inhibition] = (
    # When nothing is stored, what other rules say is about the past.
    Inhibition(Matcher("rule", "=", "telemetry-blind"), Matcher("rule", "!=", "telemetry-blind")),
    Inhibition(Matcher("severity", "=", "page"), Matcher("severity", "=", "ticket"), ("service", "rule")),
)


def receiver_name(team: str, severity: Severity) -> str:
    """What a team's receiver of a severity is called."""
    return f"{team}-{severity}"


def receivers(owners: Owners) -> dict[str, tuple[str, Receiver]]:
    """Every receiver by name: the team, and where it leads."""
    return {
        receiver_name(name, severity): (name, getattr(team, severity))
        for name, team in owners.teams.items()
        for severity in SEVERITIES
    }


def fallback(owners: Owners) -> Route:
    """What takes an alert that no route does, such as one of rules that are not ours."""
    return Route((), owners.default, "ticket")


def routes(owners: Owners) -> list[Route]:
    """The routes, in the order in which they are tried."""
    return [
        route for name in owners.teams for kind in _alerts_of(owners, name) for route in _of_kind(owners, name, kind)
    ]


class Router:
    """What an Alertmanager with these routes does; the routes are made once, for many alerts."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._routes = routes(owners)

    def told(self, labels: Mapping[str, str], at: dt.datetime) -> list[Route]:
        """The routes that tell somebody of an alert at a moment."""
        taken = []
        for route in self._routes:
            if all(matcher.matches(labels) for matcher in route.matchers):
                taken.append(route)
                if not route.goes_on:
                    break
        return [route for route in taken or [fallback(self._owners)] if route.is_open(self._owners, at)]


class Inhibitor:
    """What the alerts that fire keep from telling anybody."""

    def __init__(self, firing: Iterable[Mapping[str, str]]) -> None:
        alerts = list(firing)
        self._sources = [
            {_equal(rule, labels) for labels in alerts if rule.source.matches(labels)} for rule in INHIBITIONS
        ]

    def inhibits(self, labels: Mapping[str, str]) -> bool:
        """Whether one of them inhibits an alert."""
        return any(
            rule.target.matches(labels) and _equal(rule, labels) in sources
            for rule, sources in zip(INHIBITIONS, self._sources, strict=True)
        )


def _equal(rule: Inhibition, labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in rule.equal)


def _of_kind(owners: Owners, name: str, kind: tuple[Matcher, ...]) -> list[Route]:
    """Pages of a team to the team that each was escalated to, all others to itself."""
    page, ticket = (Matcher("severity", "=", severity) for severity in SEVERITIES)
    found = []
    for level, (team, _) in enumerate(owners.escalation(name), start=1):
        escalated = Matcher(ESCALATION, "=", str(level))
        found += _to_team(owners, team, "page", (page, escalated, *kind))
    return [
        *found,
        *_to_team(owners, name, "page", (page, *kind)),
        *_to_team(owners, name, "ticket", (ticket, *kind)),
    ]


def _to_team(owners: Owners, name: str, severity: Severity, matchers: tuple[Matcher, ...]) -> list[Route]:
    team = owners.teams[name]
    if severity != "page" or team.hours is None or team.outside_hours is None:
        return [Route(matchers, name, severity)]
    return [
        Route(matchers, name, severity, during=name, goes_on=True),
        Route(matchers, team.outside_hours, severity, outside=name),
    ]


def _alerts_of(owners: Owners, name: str) -> list[tuple[Matcher, ...]]:
    """The matchers of each kind of alert that is the team's."""
    of_a_service = Matcher("owner", "!=", "platform")
    kinds: list[tuple[Matcher, ...]] = []
    if name == owners.platform:
        kinds += [(Matcher("owner", "=", "platform"),), (of_a_service, Matcher("service", "=", ""))]
    services = [service for service, team in owners.services.items() if team == name]
    if services:
        kinds.append((of_a_service, Matcher("service", "=~", _any_of(services))))
    if name == owners.default:
        others = [Matcher("service", "!~", _any_of(owners.services))] if owners.services else []
        kinds.append((of_a_service, Matcher("service", "!=", ""), *others))
    return kinds


def _any_of(services: Sequence[str] | Mapping[str, str]) -> str:
    # In a group: Grafana takes quotes at either end of a value for its own.
    return f"({'|'.join(re.escape(service) for service in sorted(services))})"
