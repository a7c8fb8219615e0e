"""What a batch did, in items: the rows of the ledger (invariant 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from processors.decode.batch import Decoded
from processors.guard.guard import Guarded
from schemas.columns import BY_NAME
from schemas.log import OffsetRange, Record
from schemas.signals import Signal

_DAY_NS = 86_400 * 10**9


def ledger_rows(
    signal: Signal, log_id: str, records: Sequence[Record], offsets: OffsetRange, decoded: Decoded, guarded: Guarded
) -> list[dict[str, Any]]:
    """The ledger of one batch, the same at every attempt.

    A row per tenant with `TableName` '' says what was received and what became of it; a row per tenant, table and event
    day says what was stored, and how much of that the guards redacted and folded. Records that no ingest of ours
    counted are counted as decoded.
    """
    first = records[0]
    common = {
        # Not the time of the insert: a repeated batch must write the same bytes.
        "Time": max(record.received_at_ns for record in records) // 1_000_000 / 1000,
        "LogId": log_id,
        "Signal": signal.value,
        "Topic": first.topic,
        "Partition": first.partition,
        "FirstOffset": offsets.first,
        "LastOffset": offsets.last,
    }
    tenants = sorted({record.tenant for record in records})
    code = {tenant: at for at, tenant in enumerate(tenants)}
    of_record = np.fromiter((code[record.tenant] for record in records), np.int64, len(records))
    bad = {fault.record for fault in decoded.faults}
    received, dead = np.zeros(len(tenants), np.int64), np.zeros(len(tenants), np.int64)
    for index, record in enumerate(records):
        items = int(decoded.items[index]) if record.items is None else record.items
        received[of_record[index]] += items
        if index in bad:
            dead[of_record[index]] += items
    zero = {"Stored": 0, "Rejected": 0, "SampledOut": 0, "DeadLettered": 0, "Received": 0, "Day": "1970-01-01"}
    zero |= {"Redacted": 0, "Folded": 0}
    rows: list[dict[str, Any]] = []
    for tenant in tenants:
        stored: list[dict[str, Any]] = []
        for name, batch in sorted(decoded.tables.items()):
            mine = of_record[decoded.record_of_row[name]] == code[tenant]
            time_ns = batch.column(BY_NAME[name].time).to_numpy()[mine]
            days, of_day, counts = np.unique(time_ns // _DAY_NS, return_inverse=True, return_counts=True)
            redacted, folded = (
                np.bincount(of_day[rows[name][mine]], minlength=len(days)) if name in rows else np.zeros(len(days))
                for rows in (guarded.redacted, guarded.folded)
            )
            stored += [
                {
                    **common,
                    **zero,
                    "TenantId": tenant,
                    "TableName": name,
                    "Day": str(np.datetime64(int(day), "D")),
                    "Stored": int(count),
                    "Redacted": int(redacted[at]),
                    "Folded": int(folded[at]),
                }
                for at, (day, count) in enumerate(zip(days, counts, strict=True))
            ]
        rows.append(
            {
                **common,
                **zero,
                "TenantId": tenant,
                "TableName": "",
                "Received": int(received[code[tenant]]),
                "DeadLettered": int(dead[code[tenant]]),
            }
        )
        rows += stored
    return rows
