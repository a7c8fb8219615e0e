"""In which order the items of a batch become rows: by service, as the store sorts them, so that it need not.

Tables of spans and log records are sorted by five minutes and service. Most batches lie within five minutes, and items
of one resource lie beside each other on the wire: to read the runs in the order of their services costs nothing, while
the store sorts a block, and moves every column of it, for a fifth of what the insert costs (docs/benchmarks.md).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from processors.blocks import ONE_BLOCK_ROWS
from processors.decode import marks
from processors.decode.arrow import value_codes
from processors.decode.batch import SERVICE, Work
from processors.decode.strings import Array, texts


class Runs(NamedTuple):
    """Items that lie beside each other: `first` to before `stop`, all of `record`. Rows are made run by run."""

    first: Array
    stop: Array
    record: Array


def by_service(work: Work) -> Runs:
    """A run a scope group, in the byte order of services, those of one service in the order of the batch."""
    count, groups = int(work.found.used[0]), int(work.scopes.used[0])
    # Groups are numbered as they come, and so rise from item to item.
    bounds = np.searchsorted(work.found.scope[:count], np.arange(groups + 1))
    first, stop = bounds[:-1], bounds[1:]
    record = np.searchsorted(work.found.first, first, side="right") - 1
    # A batch of several blocks is cut by rows, under tokens that count them (processors/blocks.py): were it begun by a
    # release that orders otherwise, and repeated by this one, rows would be missing.
    if groups < 2 or count > ONE_BLOCK_ROWS:
        return Runs(first, stop, record)
    order = np.argsort(_ranks(work)[work.scopes.parent[:groups]], kind="stable")
    return Runs(first[order], stop[order], record[order])


def _ranks(work: Work) -> Array:
    """For each resource group the place of its service among all of them, from 1; equal where services are."""
    key = pc.index(texts(work.buffer, work.keys), pa.scalar(SERVICE)).as_py()
    services = texts(work.buffer, work.values).take(pa.array(value_codes(work.resources, key)))
    if work.marked:
        # Rows have one order, whether or not they are decoded for a guard.
        services = marks.stored(services.view(pa.string())).view(pa.binary())
    ranks: Array = pc.rank(services, tiebreaker="dense").to_numpy()
    return ranks
