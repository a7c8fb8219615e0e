"""Who is paged: services to teams to their directly responsible individuals, and when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationError, field_validator, model_validator

from dashboards.alerts.durations import PATTERN, duration_s
from schemas.documents import DocumentError, parse_yaml, read_text
from schemas.errors import ConfigurationError
from schemas.settings import Section
from schemas.shown import brief, cut

_FAULTS_TOLD = 50
_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _zone(name: str) -> dt.tzinfo:
    # Known without a database of zones, which small images leave out.
    return dt.UTC if name == "UTC" else ZoneInfo(name)


class Receiver(Section):
    """Where a notice goes; at least one of them. Secrets are files on the Alertmanager's machine."""

    webhook_url: str | None = Field(None, pattern=r"^https?://\S+$", description="Takes Alertmanager's webhook posts.")
    pagerduty_key_file: str | None = Field(None, min_length=1, description="File with an Events API v2 key.")
    slack_url_file: str | None = Field(None, min_length=1, description="File with an incoming webhook's address.")

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if not any((self.webhook_url, self.pagerduty_key_file, self.slack_url_file)):
            raise ValueError("needs a webhook_url, a pagerduty_key_file or a slack_url_file")
        return self


class Hours(Section):
    """When a team takes its pages itself."""

    days: tuple[str, ...] = Field(_DAYS[:5], min_length=1, description="Days of the week.")
    start: str = Field("09:00", alias="from", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="Time of day.")
    end: str = Field("17:00", alias="to", pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$", description="Time of day.")
    zone: str = Field("UTC", min_length=1, description="Time zone of both.")

    @field_validator("days")
    @classmethod
    def _are_days(cls, days: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [day for day in days if day not in _DAYS]:
            raise ValueError(f"must be days of the week in English, received {wrong[0]!r}")
        return days

    @field_validator("zone")
    @classmethod
    def _is_a_zone(cls, zone: str) -> str:
        try:
            _zone(zone)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"must be a time zone such as Europe/Berlin, received {zone!r}") from error
        return zone

    @model_validator(mode="after")
    def _go_forward(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"from must be before to, received {self.start} and {self.end}")
        return self

    def include(self, at: dt.datetime) -> bool:
        """Whether a moment, with its zone, is in these hours."""
        there = at.astimezone(_zone(self.zone))
        return _DAYS[there.weekday()] in self.days and self.start <= there.strftime("%H:%M") < self.end


class Team(Section):
    """One team."""

    dri: str = Field(min_length=1, description="The directly responsible individual; named in every notice.")
    page: Receiver = Field(description="Where its pages go.")
    ticket: Receiver = Field(description="Where its tickets go.")
    hours: Hours | None = Field(None, description="When `page` is used; None is always.")
    outside_hours: str | None = Field(None, description="The team that gets its pages at other times.")

    escalate_to: str | None = Field(None, description="The team that gets a page that nobody acknowledged in time.")
    escalate_after: str | None = Field(None, pattern=PATTERN, description="How long that is, such as 15m.")

    @model_validator(mode="after")
    def _escalates_whole(self) -> Self:
        if (self.escalate_to is None) != (self.escalate_after is None):
            raise ValueError("escalate_to and escalate_after must be given together")
        if self.escalate_after is not None and duration_s(self.escalate_after) == 0:
            raise ValueError(f"escalate_after must be longer than nothing, received {self.escalate_after!r}")
        return self

    @model_validator(mode="after")
    def _never_nobody(self) -> Self:
        if (self.hours is None) != (self.outside_hours is None):
            raise ValueError("hours and outside_hours must be given together, so that somebody is always paged")
        return self


class Owners(Section):
    """The ownership file."""

    teams: Mapping[str, Team] = Field(min_length=1, description="By name.")
    services: Mapping[str, str] = Field(default_factory=dict, description="Service name to team.")
    platform: str = Field(description="The team that runs the pipeline.")
    default: str = Field(description="The team of services that are not listed.")

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        named = {"platform": self.platform, "default": self.default}
        named |= {f"services.{service}": team for service, team in self.services.items()}
        for name, of in self.teams.items():
            referred = {"outside_hours": of.outside_hours, "escalate_to": of.escalate_to}
            named |= {f"teams.{name}.{field}": team for field, team in referred.items() if team is not None}
        for field, team in named.items():
            if team not in self.teams:
                raise ValueError(
                    f"{field}: must be one of the teams ({cut(', '.join(sorted(self.teams)), 200)}), received {team!r}"
                )
            if field.endswith("outside_hours") and self.teams[team].hours is not None:
                raise ValueError(f"{field}: must be a team that is always there, received {team!r}, which has hours")
        return self

    @model_validator(mode="after")
    def _escalation_ends(self) -> Self:
        ends: set[str] = set()
        for name in self.teams:
            # Each team is walked once: a chain of thousands would else take their cube.
            chain: dict[str, None] = {name: None}
            team = self.teams[name].escalate_to
            while team is not None and team not in ends:
                if team in chain:
                    to = " to ".join([*chain, team])
                    raise ValueError(
                        f"teams.{[*chain][-1]}.escalate_to: must not lead back to a team that has the page already, "
                        f"received {cut(to, 200)}"
                    )
                chain[team] = None
                team = self.teams[team].escalate_to
            ends.update(chain)
        return self

    def escalation(self, team: str) -> list[tuple[str, int]]:
        """To whom a team's page goes that nobody acknowledges, and after how many seconds since it fired."""
        found, after_s = [], 0
        while team in self.teams and (to := self.teams[team].escalate_to) is not None:
            after_s += duration_s(self.teams[team].escalate_after or "")
            found.append((to, after_s))
            team = to
        return found

    def team_of(self, owner: str, service: str | None) -> str:
        """The team of an alert: its rule's owner, and its service."""
        return self.platform if owner == "platform" or not service else self.services.get(service, self.default)


def read(file: Path) -> Owners:
    """The ownership file.

    Raises:
        ConfigurationError: unreadable, or a line for each wrong field: the field, the rule, what it received.
    """
    try:
        documents = parse_yaml(read_text(file))
        if len(documents) > 1:
            raise DocumentError(f"must be one document; got {len(documents)}")
    except OSError as error:
        raise ConfigurationError(f"{file}: must be readable YAML ({error.strerror})") from error
    except DocumentError as error:
        raise ConfigurationError(f"{file}: must be readable YAML ({error})") from error
    found = documents[0].values if documents else None
    if not isinstance(found, dict):
        raise ConfigurationError(
            f"{file}: must be a mapping of teams, services, platform and default; got {brief(found)}"
        )
    try:
        return Owners.model_validate(found)
    except ValidationError as error:
        lines = []
        details = error.errors(include_url=False)
        for detail in details[:_FAULTS_TOLD]:
            where = ".".join(str(part) for part in detail["loc"]) or "owners"
            rule = detail["msg"].removeprefix("Value error, ")
            got = "" if detail["type"] in ("value_error", "missing") else f"; got {brief(detail['input'])}"
            lines.append(cut(f"{file}: {where}: {rule}{got}", 1000))
        if len(details) > len(lines):
            lines.append(f"{file}: {len(details) - len(lines)} further fields are wrong")
        raise ConfigurationError("\n".join(lines)) from error
