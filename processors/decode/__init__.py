"""OTLP protobuf bytes of many records to Arrow columns, compiled; one entry for the three signals."""

from __future__ import annotations

from collections.abc import Sequence

from processors.arena import Arena
from processors.decode import logs, metrics, traces
from processors.decode.batch import Decoded, Fault
from schemas.log import Record
from schemas.signals import Signal

__all__ = ["Decoded", "Fault", "decode"]

_DECODERS = {Signal.TRACES: traces.decode, Signal.METRICS: metrics.decode, Signal.LOGS: logs.decode}


def decode(signal: Signal, records: Sequence[Record], arena: Arena, *, marked: bool = False) -> Decoded:
    """Decode a batch. The rows live in the arena: they are valid until its next reset.

    `marked` is for guards that read bytes values: those that are text come with marks (marks.py).
    """
    return _DECODERS[signal](records, arena, marked=marked)
