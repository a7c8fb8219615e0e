"""The pipeline's own page: what came in, what became of it, what waits, and whether it adds up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from dashboards.store import Row, StoreReader
from dashboards.viewer.charts import Chart, chart
from dashboards.viewer.conservation import Balance, balances, next_offsets
from dashboards.viewer.health import HealthFigures, PipelineHealth
from dashboards.viewer.window import Window
from schemas.errors import LogUnavailableError
from schemas.signals import Signal

_COLOURS = {Signal.TRACES: "accent", Signal.METRICS: "calm", Signal.LOGS: "warn"}


@dataclass(frozen=True, slots=True)
class PipelineView:
    """What the page shows. `problem` says why the log's figures are missing; then `figures` is None."""

    figures: HealthFigures | None
    problem: str
    balances: list[Balance]
    charts: list[Chart]

    @property
    def received(self) -> int:
        """Items of all tenants and signals that were answered with success."""
        return sum(balance.received for balance in self.balances)

    @property
    def stored(self) -> int:
        """Items stored, all tenants and signals."""
        return sum(balance.stored for balance in self.balances)

    @property
    def in_flight(self) -> int:
        """Items in the log that are not yet stored."""
        return sum(balance.in_flight for balance in self.balances)

    @property
    def dead_lettered(self) -> int:
        """Items that went to the dead letters."""
        return sum(balance.dead_lettered for balance in self.balances)

    @property
    def waiting(self) -> int:
        """Dead letters (records) that nobody redrove yet."""
        return sum(balance.waiting for balance in self.balances)

    @property
    def missing(self) -> int:
        """Items out of balance, either way, summed so that two errors do not cancel out."""
        return sum(abs(balance.missing) for balance in self.balances)


async def read(store: StoreReader, health: PipelineHealth, window: Window) -> PipelineView:
    """The pipeline's view of now, with series over a window."""
    figures, problem, totals = None, "", []
    try:
        figures = await asyncio.to_thread(health.figures)
    except LogUnavailableError as error:
        problem = str(error)
    # In this order: see `balances`.
    if figures is not None:
        totals = await store.ask("ledger_totals", next_offsets(figures.log))
    series = await store.ask("ledger_series", {"from_s": window.from_s, "to_s": window.to_s, "step_s": window.step_s})
    return PipelineView(
        figures=figures,
        problem=problem,
        balances=balances(figures.log, totals) if figures else [],
        charts=_charts(series, window),
    )


def _charts(rows: list[Row], window: Window) -> list[Chart]:
    if not rows:
        return []

    def per_second(signal: Signal, column: str) -> list[float | None]:
        by_step = {row["Step"]: row[column] for row in rows if row["Signal"] == signal.value}
        return [
            by_step.get(step, 0) / window.covered_s(step, step + window.step_s) if step < window.now_s else None
            for step in window.steps
        ]

    times = list(window.steps)
    seen = [signal for signal in Signal if any(row["Signal"] == signal.value for row in rows)]
    return [
        chart(
            key, title, "rate", times, {signal.value: (_COLOURS[signal], per_second(signal, column)) for signal in seen}
        )
        for key, title, column in (
            ("received", "Items read from the log per second", "ReceivedItems"),
            ("stored", "Items stored per second", "StoredItems"),
        )
    ]
