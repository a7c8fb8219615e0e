"""The pipeline's own health, from what it says about itself and from the ledger."""

from __future__ import annotations

from functools import partial

from dashboards.definitions.questions import read
from dashboards.grafana import panels
from dashboards.grafana.layout import Board

UID = "sluiceway-pipeline"
_sql = partial(read, "pipeline")

BOARD = Board(
    UID,
    "Pipeline",
    "What the pipeline received, stored and refused, how far it is behind, and whether every item is accounted for.",
    [panels.datasource_variable()],
    [
        [
            panels.lines("Accepted", "Items acknowledged a second.", _sql("accepted"), unit="cps"),
            panels.lines("Stored", "Items stored a second, by the ledger.", _sql("ledger"), unit="cps"),
            panels.lines("Refused", "Requests pushed back a second, by reason.", _sql("refused"), unit="reqps"),
        ],
        [
            panels.lines("Behind", "Age of the oldest record that is not stored.", _sql("lag_s"), unit="s", width=6),
            panels.lines("Dead letters", "Records that wait.", _sql("dead_letters"), unit="short", width=6),
            panels.lines("Retries", "Batches tried again, a second.", _sql("retries"), unit="cps", width=6),
            panels.lines("CPU", "Of each process, in cores.", _sql("cpu"), unit="short", width=6),
        ],
        [
            panels.lines("Memory", "Resident, of each process.", _sql("resident"), unit="bytes", width=6),
            panels.grid(
                "Ledger",
                "Received is stored, rejected, sampled out or dead-lettered: a difference is a loss or a double.",
                _sql("conservation"),
                width=18,
            ),
        ],
    ],
)
