"""What the viewer must be told about the log, as it reads the store only. The wiring implements it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from schemas.log import LogSnapshot


@dataclass(frozen=True, slots=True)
class HealthFigures:
    """The log side of the pipeline at one instant.

    Attributes:
        log: counts, progress, items in flight and waiting dead letters, from one transaction. Where the log counts no
            items (no `counts`), the ledger alone says what was received.
        log_size_bytes: what the log holds on disk.
        log_max_bytes: the log's bound; new requests are refused when all of it is not yet stored. None where brokers
            bound it.
        lag_s: age of the oldest record that is not yet stored, seconds; 0 when there is none, None when not known.
    """

    log: LogSnapshot
    log_size_bytes: int
    log_max_bytes: int | None
    lag_s: float | None = None


class PipelineHealth(Protocol):
    """Implementations MUST be safe to call from any thread; a call may block on disk for milliseconds."""

    def figures(self) -> HealthFigures:
        """The figures of now.

        Raises:
            LogUnavailableError: the log cannot be read now.
        """
