"""What all scans of one batch share: how much scratch is used, and which array was too small."""

from __future__ import annotations

import numpy as np

from schemas.wire import PADDING, compiled, inlined

# Cells of the `state` array that every function here shares. Whoever finds its array full writes the array's
# number to OVERFLOW: the caller grows that one and starts the batch again, so that no value is cut.
SCRATCH, SCRATCH_END, OVERFLOW, WORK = 0, 1, 2, 3
# The mark that is put around bytes values that are text (0: around none), and whether one was: see marks.py.
MARK, MARKED = 4, 5
STATE_CELLS = 6
SCRATCH_BYTES, WORK_CELLS, KEYS, VALUES, RESOURCES, RESOURCE_ENTRIES, SCOPES, SCOPE_ENTRIES, ITEMS = range(1, 10)
ENTRIES, EVENTS, EVENT_ENTRIES, LINKS, LINK_ENTRIES, METRICS = range(10, 16)
POINTS, POINT_ENTRIES, BUCKETS, EXEMPLARS, EXEMPLAR_ENTRIES = range(16, 21)
ARRAYS = 21


@compiled
def reserve(state, size):
    """Room for `size` bytes plus padding in the scratch; its position, or -1 with OVERFLOW set."""
    at = state[SCRATCH]
    if at + size + PADDING > state[SCRATCH_END]:
        state[OVERFLOW] = SCRATCH_BYTES
        return np.int64(-1)
    return at


@inlined
def mark_fault(faults, record, at):
    """Keep the lowest position of a record's faults: its items may be read in any order."""
    if faults[record] < 0 or at < faults[record]:
        faults[record] = at
