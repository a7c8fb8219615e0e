"""One batch of log records through a scan: byte array, growth of the working arrays, and the records at fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from processors.arena import Arena
from processors.decode import attributes, frame, marks, space, strings
from processors.decode.arrow import Columns, coded, numbers, of_group
from processors.decode.strings import Array
from schemas.log import Record
from schemas.wire import PADDING

SERVICE = b"service.name"
VERSION = b"service.version"
# The stable name first, then the one that older SDKs still send (semantic conventions, deployment).
ENVIRONMENT = (b"deployment.environment.name", b"deployment.environment")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a record cannot be decoded: `record` is its index in the batch, `at` the byte in its value."""

    record: int
    at: int
    rule: str


@dataclass(slots=True)
class Decoded:
    """Rows of each table, and the records that gave none.

    Attributes:
        tables: by table name, columns in the order of schemas.columns; tables without rows are absent.
        items: spans, data points or log records decoded, for each record of the batch.
        record_of_row: by table name, the index of each row's record.
        faults: at most one for each record, in order.
        marked: values may hold marks (marks.py), which must be taken away before rows are written.
    """

    tables: dict[str, pa.RecordBatch] = field(default_factory=dict)
    items: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    record_of_row: dict[str, Array] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    marked: bool = False


# By array number: room in elements. Arrays whose need is known only in the scan have a factor instead.
Sizes = list[int]


class Work:
    """The byte array of a batch and the arrays that its scan writes to."""

    def __init__(self, arena: Arena, records: Sequence[Record], sizes: Sizes, *, marked: bool = False) -> None:
        arena.reset()
        self.arena = arena
        lengths = np.fromiter((len(record.value) for record in records), np.int64, len(records))
        self.stops = np.cumsum(lengths)
        self.starts = self.stops - lengths
        used = int(self.stops[-1]) if len(records) else 0
        # The wire bytes and the text made from them share one array, so that a view needs no second buffer.
        self.buffer = arena.empty(used + PADDING + sizes[space.SCRATCH_BYTES], np.uint8)
        memory = self.buffer.data
        for record, start, stop in zip(records, self.starts.tolist(), self.stops.tolist(), strict=True):
            memory[start:stop] = record.value
        self.buffer[used : used + PADDING] = 0
        self.state = np.zeros(space.STATE_CELLS, np.int64)
        self.state[space.SCRATCH] = used + PADDING
        self.state[space.SCRATCH_END] = self.buffer.size
        self.state[space.MARK] = marks.MARK_NUMBER if marked else 0
        self.work = arena.empty(sizes[space.WORK_CELLS], np.int64)
        self.keys = strings.interned(arena, sizes[space.KEYS], space.KEYS)
        self.values = strings.interned(arena, sizes[space.VALUES], space.VALUES)
        self.resources, self.scopes = (
            frame.groups(arena, attributes.shared(arena, sizes[entries], entries), sizes[groups], groups)
            for groups, entries in ((space.RESOURCES, space.RESOURCE_ENTRIES), (space.SCOPES, space.SCOPE_ENTRIES))
        )
        self.found = frame.items(arena, len(records), sizes[space.ITEMS])

    def frame(self, faults: Array) -> None:
        """Find the items of the records without fault."""
        frame.frame(
            self.buffer,
            self.starts,
            self.stops,
            faults,
            self.resources,
            self.scopes,
            self.found,
            self.keys,
            self.values,
            self.state,
            self.work,
        )

    @property
    def marked(self) -> bool:
        """Whether a value has marks."""
        return bool(self.state[space.MARKED])

    @property
    def overflown(self) -> int:
        """The number of the array that was too small, 0 if none was."""
        return int(self.state[space.OVERFLOW])


def sizes_for(value_bytes: int) -> Sizes:
    """Room for ordinary telemetry of `value_bytes`; what needs more is scanned again with more."""
    sizes = [1] * space.ARRAYS
    groups, entries = value_bytes // 1024 + 1024, value_bytes // 24 + 1024
    sizes[space.SCRATCH_BYTES] = value_bytes // 4 + 65536
    sizes[space.WORK_CELLS] = 4096
    sizes[space.KEYS] = sizes[space.VALUES] = 8192
    sizes[space.RESOURCES] = sizes[space.SCOPES] = groups
    sizes[space.RESOURCE_ENTRIES], sizes[space.SCOPE_ENTRIES] = 8 * groups, 4 * groups
    sizes[space.ITEMS] = value_bytes // 64 + 1024
    sizes[space.ENTRIES] = entries
    sizes[space.EVENTS] = sizes[space.EVENT_ENTRIES] = entries // 4
    sizes[space.LINKS] = sizes[space.LINK_ENTRIES] = entries // 16
    return sizes


def scan_all(
    arena: Arena, records: Sequence[Record], scan: Callable[[Work, Sizes, Array], None], *, marked: bool
) -> tuple[Work, Array]:
    """Run frame and scan until every array is large enough and no record at fault contributed a row.

    Args:
        arena: gives the working memory; what it gave before becomes invalid.
        records: the batch, in order.
        scan: decodes the items of a framed `Work`, marking faults.
        marked: put marks around bytes values that are text.

    Returns:
        The work whose arrays hold the rows, and the fault position of each record in the array of bytes, or -1.
    """
    sizes = sizes_for(sum(len(record.value) for record in records))
    faults = np.full(len(records), -1, np.int64)
    while True:
        known = int((faults >= 0).sum())
        work = Work(arena, records, sizes, marked=marked)
        work.frame(faults)
        if not work.overflown:
            scan(work, sizes, faults)
        if work.overflown:
            # Only the one that was full: hostile bytes fill one kind of array, and room for all would be memory for
            # nothing. What an array must hold is bounded by the bytes of the batch, so growing ends.
            faults[:] = -1
            sizes[work.overflown] *= 4
            continue
        if int((faults >= 0).sum()) == known:
            return work, faults


def faults_of(work: Work, faults: Array, rule: str) -> list[Fault]:
    """Fault objects, positions relative to each record's value."""
    return [
        Fault(int(record), int(faults[record] - work.starts[record]), rule) for record in np.flatnonzero(faults >= 0)
    ]


class Context:
    """Per-row columns that come from the record, the resource and the scope: the same for every table."""

    def __init__(self, work: Work, records: Sequence[Record]) -> None:
        self.shared = Columns(work.buffer, work.keys, work.values)
        self._work = work
        self._resource_maps = self.shared.shared_maps(work.resources)
        self._scope_maps = self.shared.shared_maps(work.scopes)
        pick = self.shared.attribute_codes
        self._service = pick(work.resources, SERVICE)
        self._version = pick(work.resources, VERSION)
        self._environment = pick(work.resources, *ENVIRONMENT)
        tenants = sorted({record.tenant for record in records})
        self._tenants = pa.array(tenants, pa.string())
        code = {tenant: at for at, tenant in enumerate(tenants)}
        self._tenant = np.fromiter((code[record.tenant] for record in records), np.uint32, len(records))
        self.received_at = np.fromiter((record.received_at_ns for record in records), np.int64, len(records))

    def columns(self, scope: Array, record: Array) -> dict[str, pa.Array]:
        """The shared columns for rows whose scope group and record index are given."""
        work, values = self._work, self.shared.values
        scopes, resources = work.scopes, work.resources
        resource = scopes.parent[scope]
        return {
            "ServiceName": coded(of_group(self._service, resource), values),
            "ServiceVersion": coded(of_group(self._version, resource), values),
            "Environment": coded(of_group(self._environment, resource), values),
            "ResourceAttributes": coded(resource.astype(np.int32), self._resource_maps),
            "ResourceSchemaUrl": coded(of_group(resources.schema_url, resource), values),
            "ResourceDroppedAttributesCount": numbers(of_group(resources.dropped, resource)),
            "ScopeName": coded(of_group(scopes.name, scope), values),
            "ScopeVersion": coded(of_group(scopes.version, scope), values),
            "ScopeAttributes": coded(scope.astype(np.int32), self._scope_maps),
            "ScopeSchemaUrl": coded(of_group(scopes.schema_url, scope), values),
            "ScopeDroppedAttributesCount": numbers(of_group(scopes.dropped, scope)),
            "TenantId": coded(self._tenant[record], self._tenants),
        }
