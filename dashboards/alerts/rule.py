"""What an alert rule is, whoever evaluates it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Literal

from schemas import sql

Severity = Literal["page", "ticket"]
# What an evaluation without rows, or one that failed, means.
NoData = Literal["ok", "alerting"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Its query answers with text columns, which name an alert, and one number, `value`; no time.

    A row is an alert; it fires while `value` is above `above`, and one that has fired resolves below `resolves_below`.
    Rows that are well stay in the answer: an alert whose row is missing resolves later, and for the wrong reason.

    Attributes:
        name: the file of its query and of its runbook; never changes.
        title: for people.
        summary: a sentence; `{service}` and other text columns, and `{value}`, are filled in.
        range_s: how far back the query looks, seconds; `$__fromTime` and `$__toTime` are its ends.
        every_s: how often it is evaluated.
        for_s: how long it must hold before it fires.
        keep_firing_s: how long it goes on after it stopped to hold, so that it does not flap.
        on_no_rows, on_error: what an empty answer, and none, mean.
        sql: its query, where that holds definitions and so is no file.
        trace_of: the file of its query for a trace, where rules share one.
        board, panel: the dashboard that shows it, and the title of its panel there.
    """

    name: str
    title: str
    severity: Severity
    owner: str
    summary: str
    above: float
    resolves_below: float
    range_s: int
    every_s: int
    for_s: int
    keep_firing_s: int
    board: str
    panel: str
    on_no_rows: NoData = "ok"
    on_error: NoData = "ok"
    sql: str = ""
    trace_of: str = ""

    @property
    def uid(self) -> str:
        """Identifies it in Grafana."""
        return f"sluiceway-{self.name}"

    @property
    def query(self) -> str:
        """Its SQL, with the macros that Grafana's server expands."""
        return self.sql or _read(self.name)

    @property
    def trace_query(self) -> str | None:
        """The SQL of a trace id that shows what is wrong, with the alert's labels as variables; None for none."""
        name = f"{self.trace_of or self.name}.trace"
        return _read(name) if _FOLDER.joinpath(f"{name}.sql").is_file() else None

    @property
    def culprit_query(self) -> str | None:
        """The SQL of what most likely is to blame, one text, as `trace_query`; None where the labels say it."""
        name = f"{self.name}.culprit"
        return _read(name) if _FOLDER.joinpath(f"{name}.sql").is_file() else None


_FOLDER = resources.files("dashboards").joinpath("alerts", "sql")


def _read(name: str) -> str:
    return sql.read(_FOLDER, name, resources.files("dashboards").joinpath("queries")).strip()
