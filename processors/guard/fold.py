"""Folding: data points whose series is over a budget keep their values and lose their attributes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from processors.decode.strings import Array
from processors.guard.kernels import put_views_of
from processors.guard.values import text_bytes, with_texts

# OpenTelemetry's metrics SDK specification, "Cardinality limits"; as text, as all attributes are in the store.
OVERFLOW = "otel.metric.overflow"
# Tells what we folded from what an SDK did: its points are one series, ours come from many.
BUDGET = "sluiceway.budget"


def fold(rows: pa.RecordBatch, folded: Array, levels: Array) -> pa.RecordBatch:
    """The rows with `{otel.metric.overflow: true, sluiceway.budget: LEVEL}` as the attributes of the folded ones.

    Args:
        rows: of a metric table, not sliced.
        folded: a boolean for each row.
        levels: the level of each folded row, as text.
    """
    at = rows.schema.get_field_index("Attributes")
    maps = rows.column(at)
    offsets, keys = maps.offsets.to_numpy(), maps.keys.indices.to_numpy()
    _, views, *data = maps.items.buffers()
    words = (
        np.frombuffer(views, np.uint64)[: 2 * len(keys)].reshape(-1, 2) if len(keys) else np.zeros((0, 2), np.uint64)
    )
    sizes = np.diff(offsets)
    new_sizes = np.where(folded, 2, sizes)
    new_offsets = np.concatenate([[0], np.cumsum(new_sizes)]).astype(np.int32)
    kept = ~np.repeat(folded, sizes)
    target = np.arange(len(keys)) + np.repeat(new_offsets[:-1] - offsets[:-1], sizes)
    new_keys, new_words = np.empty(new_offsets[-1], np.uint32), np.empty((new_offsets[-1], 2), np.uint64)
    new_keys[target[kept]], new_words[target[kept]] = keys[kept], words[kept]
    first = new_offsets[:-1][folded]
    names, codes = with_texts(maps.keys.dictionary, pa.array([OVERFLOW, BUDGET], pa.string()))
    distinct, which = np.unique(levels, return_inverse=True)
    # All shorter than a view, so that they need no buffer.
    texts = _views(["true", *distinct.tolist()])
    new_keys[first], new_keys[first + 1] = codes
    new_words[first], new_words[first + 1] = texts[0], texts[1 + which]
    items = pa.Array.from_buffers(pa.string_view(), len(new_keys), [None, pa.py_buffer(new_words), *data])
    coded = pa.DictionaryArray.from_arrays(pa.array(new_keys), names, safe=False)
    return rows.set_column(at, "Attributes", pa.MapArray.from_arrays(pa.array(new_offsets), coded, items))


def _views(texts: list[str]) -> Array:
    offsets, data = text_bytes(pa.array(texts, pa.string()))
    views = np.empty(2 * len(texts), np.uint64)
    put_views_of(offsets, data, 0, views)
    return views.reshape(-1, 2)
