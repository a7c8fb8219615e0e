"""Decoding under test: through decoder and encoder to the bytes of an insert, and back to comparable rows."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from processors import native
from processors.arena import Arena
from processors.decode import Decoded, decode
from schemas.columns import BY_NAME
from schemas.log import Record
from schemas.signals import Signal
from tests import native_block

Rows = dict[str, list[dict[str, Any]]]


def blocks(decoded: Decoded, arena: Arena) -> dict[str, bytes]:
    """The body of each table's insert."""
    return {name: bytes(native.encode(batch, BY_NAME[name].columns, arena)) for name, batch in decoded.tables.items()}


def decoded_rows(signal: Signal, records: Sequence[Record], arena: Arena | None = None) -> Rows:
    """The rows that an insert of the batch would carry; no record may be at fault."""
    arena = arena or Arena()
    decoded = decode(signal, records, arena)
    assert decoded.faults == []
    return {name: native_block.rows(body) for name, body in blocks(decoded, arena).items()}


def comparable(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Rows:
    """Rows whose doubles compare by their bits, and whose columns stand in the order of the schema."""
    return {
        name: [{column: _bits(row[column]) for column in BY_NAME[name].names} for row in table]
        for name, table in rows.items()
    }


def _bits(value: Any) -> Any:
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else struct.pack("<d", value)
    return [_bits(each) for each in value] if isinstance(value, list) else value
