"""One service's page: RED over time, versions, operations, traces."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from dashboards.settings import ViewerSettings
from dashboards.store import Row, StoreReader
from dashboards.viewer import red
from dashboards.viewer.charts import Chart, chart
from dashboards.viewer.window import Window
from schemas.errors import StoreUnavailableError

TRACE_LISTS = {"": "Latest", "failed": "Failed", "slowest": "Slowest"}
OPERATIONS_LIMIT = 100
LATEST_STRETCHES_S = (300, 3600, 6 * 3600)


@dataclass(frozen=True, slots=True)
class ServiceView:
    """What the page shows; `red` is None when the service has no span in the window.

    `traces_problem` says why `traces` could not be listed: everything else comes from rollups and stays readable then.
    """

    name: str
    red: red.ServiceRed | None
    charts: list[Chart]
    versions: list[Row]
    operations: list[Row]
    operations_cut: bool
    trace_list: str
    trace_lists: dict[str, str]
    traces: list[Row]
    traces_problem: str


async def read(store: StoreReader, window: Window, settings: ViewerSettings, name: str, trace_list: str) -> ServiceView:
    """The service's view of a window; an unknown `trace_list` shows the latest."""
    trace_list = trace_list if trace_list in TRACE_LISTS else ""
    asked = {"service": name, "from_s": window.from_s, "to_s": window.to_s}
    found, versions, operations, (traces, traces_problem) = await asyncio.gather(
        red.services(store, window, settings, service=name),
        store.ask("versions", asked),
        store.ask("operations", {**asked, "limit": OPERATIONS_LIMIT + 1}),
        _traces(store, window, settings, name, trace_list),
    )
    service = found[0] if found else None
    for operation in operations:
        operation["Rate"] = operation["OperationCalls"] / window.covered_s(operation["FirstSeen"])
    return ServiceView(
        name=name,
        red=service,
        charts=_charts(service, window, versions) if service else [],
        versions=versions,
        operations=operations[:OPERATIONS_LIMIT],
        operations_cut=len(operations) > OPERATIONS_LIMIT,
        trace_list=trace_list,
        trace_lists=TRACE_LISTS,
        traces=traces,
        traces_problem=traces_problem,
    )


async def _traces(
    store: StoreReader, window: Window, settings: ViewerSettings, name: str, trace_list: str
) -> tuple[list[Row], str]:
    """The list asked for, or none and why.

    The latest are looked for near the end of the window first: spans of a long window are many, and these are few.
    """
    end_s = int(min(window.to_s, window.now_s + 1))
    stretches_s = [window.to_s - window.from_s]
    if trace_list != "slowest":
        stretches_s = [stretch for stretch in LATEST_STRETCHES_S if stretch < stretches_s[0]] + stretches_s
    asked = {"service": name, "to_s": window.to_s, "limit": settings.traces_limit}
    traces: list[Row] = []
    try:
        for stretch_s in stretches_s:
            asked["from_s"] = max(end_s - stretch_s, window.from_s)
            if trace_list == "slowest":
                return await store.ask("traces_slowest", asked), ""
            traces = await store.ask("traces_recent", {**asked, "failed_only": int(trace_list == "failed")})
            if len(traces) == settings.traces_limit:
                break
    except StoreUnavailableError as error:
        return traces, f"{error}. A shorter range may do."
    return traces, ""


def _charts(service: red.ServiceRed, window: Window, versions: list[Row]) -> list[Chart]:
    times, series = list(window.steps), service.series
    # A version that was there from the first minute on was not released in this window.
    first = min((row["FirstSeen"] for row in versions), default=0)
    releases = [
        (row["ServiceVersion"], float(row["FirstSeen"]))
        for row in versions
        if row["ServiceVersion"] and row["FirstSeen"] > first
    ]
    return [
        chart("rate", "Calls per second", "rate", times, {"calls": ("accent", series.rate)}, marks=releases),
        chart("errors", "Failed share of calls", "share", times, {"failed": ("bad", series.errors)}, marks=releases),
        chart(
            "latency", "Latency", "duration", times,
            {"p50": ("calm", series.p50), "p95": ("accent", series.p95), "p99": ("warn", series.p99)}, marks=releases,
        ),
    ]  # fmt: skip
