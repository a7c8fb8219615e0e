"""What a service runs on: process, host and language runtime, by the metrics of OpenTelemetry's semantic conventions.

Sources: semantic conventions 1.38, `system`, `process`, `container`, and `runtime` of JVM, Go, Node.js, .NET, CPython.
"""

from __future__ import annotations

from dashboards.definitions.questions import read
from dashboards.grafana import panels
from dashboards.grafana.layout import Board, Placed

UID = "sluiceway-runtime"


def _sql(name: str, *metrics: str) -> str:
    return read("runtime", name).replace("{metrics}", ", ".join(f"'{metric}'" for metric in metrics))


def levels(title: str, description: str, unit: str, *metrics: str) -> Placed:
    """Gauges and sums that go up and down."""
    return panels.lines(title, description, _sql("values", *metrics), unit=unit)


def rates(title: str, description: str, unit: str, metric: str) -> Placed:
    """A counter a second."""
    return panels.lines(title, description, _sql("rate", metric), unit=unit)


def pauses(title: str, description: str, metric: str) -> Placed:
    """The 99th percentile of a histogram of seconds."""
    return panels.lines(title, description, _sql("pauses", metric), unit="s")


PROCESS = (
    levels("CPU", "Share of what the process may use.", "percentunit",
           "process.cpu.utilization", "jvm.cpu.recent_utilization", "container.cpu.usage"),
    rates("CPU time", "Seconds of CPU a second.", "none", "process.cpu.time"),
    levels("Memory", "Of the process and its container.", "bytes",
           "process.memory.usage", "process.memory.virtual", "container.memory.usage"),
)  # fmt: skip
HOST = (
    levels("Utilization", "How full CPU, memory and file systems are; 1 is full.", "percentunit",
           "system.cpu.utilization", "system.memory.utilization", "system.filesystem.utilization"),
    rates("Network", "Bytes a second, by direction and device.", "bytes", "system.network.io"),
    rates("Disk", "Bytes a second, by direction and device.", "bytes", "system.disk.io"),
)  # fmt: skip
RUNTIME = (
    levels("Heap", "What the runtime's memory holds.", "bytes",
           "jvm.memory.used", "go.memory.used", "v8js.memory.heap.used", "dotnet.gc.last_collection.heap.size"),
    levels("Threads", "Threads, goroutines, workers.", "short",
           "process.thread.count", "jvm.thread.count", "go.goroutine.count", "dotnet.thread_pool.thread.count"),
    pauses("Garbage collection", "99th percentile of its pauses.", "jvm.gc.duration"),
)  # fmt: skip
BOARD = Board(
    UID,
    "Runtime and host",
    "What a service runs on: its process, its host, its language's runtime. Panels of what it does not send are empty.",
    [panels.datasource_variable(), panels.query_variable("service", "Service", _sql("services"))],
    [PROCESS, HOST, RUNTIME],
)
