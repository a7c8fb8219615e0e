"""The embedded log has one partition and no group that could give it back: a reader that lost it stays without."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogReader
from schemas.errors import FencedError, PartitionLostError
from schemas.log import Entry
from schemas.settings import LogSettings


def test_a_reader_that_was_replaced_owns_nothing_any_more(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    writer = SqliteLogWriter(path, LogSettings())
    writer.append([Entry("otlp_spans", b"x")])
    old, new = SqliteLogReader(path, "otlp_spans"), SqliteLogReader(path, "otlp_spans")
    old.progress(0)
    new.progress(0)
    with pytest.raises(FencedError) as fenced:
        old.freeze(0, 0)
    assert not isinstance(fenced.value, PartitionLostError)
    assert list(old.partitions()) == []
    for opened in (old, new, writer):
        opened.close()
