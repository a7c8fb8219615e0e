"""The embedded log against a list in memory: any order of appends, freezes, commits, redrives and reopenings."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogInspector, SqliteLogReader, SqliteLogRetention
from schemas.log import DeadLetter, Entry, OffsetRange, Progress
from schemas.settings import LogSettings

TOPICS = ("otlp_spans", "otlp_logs")
GROUPS = ("store", "other")
SETTINGS = LogSettings(max_bytes=64 * 1024 * 1024, retention_s=0)


@dataclass
class TopicModel:
    """One topic: all records ever appended, by offset, and what was deleted below `start`."""

    entries: list[Entry] = field(default_factory=list)
    start: int = 0
    waiting: list[int] = field(default_factory=list)
    letters_ever: set[int] = field(default_factory=set)


class LogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "log.sqlite"
        self.topics = {topic: TopicModel() for topic in TOPICS}
        self.progress = {(topic, group): Progress(0) for topic in TOPICS for group in GROUPS}

    @initialize()
    def open(self) -> None:
        self.writer = SqliteLogWriter(self.path, SETTINGS)
        self.inspector = SqliteLogInspector(self.path)
        self.retention = SqliteLogRetention(self.path, SETTINGS)
        self.readers = {(t, g): SqliteLogReader(self.path, t, g) for t in TOPICS for g in GROUPS}
        for reader in self.readers.values():
            reader.progress(0)

    def close(self) -> None:
        for reader in self.readers.values():
            reader.close()
        self.retention.close()
        self.inspector.close()
        self.writer.close()

    def teardown(self) -> None:
        self.close()
        shutil.rmtree(self.folder)

    @rule()
    def reopen(self) -> None:
        self.close()
        self.open()

    @rule(
        entries=st.lists(
            st.builds(
                Entry,
                st.sampled_from(TOPICS),
                st.binary(max_size=50) | st.integers(60_000, 200_000).map(lambda size: b"x" * size),
                tenant=st.sampled_from(["", "a", "ü"]),
                received_at_ns=st.integers(0, 2**63 - 1),
                items=st.integers(0, 2**31),
                rejected=st.integers(0, 2**31),
                headers=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
            ),
            max_size=5,
        )
    )
    def append(self, entries: list[Entry]) -> None:
        self.writer.append(entries)
        for entry in entries:
            self.topics[entry.topic].entries.append(entry)

    @rule(topic=st.sampled_from(TOPICS), group=st.sampled_from(GROUPS), records=st.integers(1, 4))
    def freeze(self, topic: str, group: str, records: int) -> None:
        progress, reader = self.progress[topic, group], self.readers[topic, group]
        last = progress.next_offset + records - 1
        wanted = OffsetRange(progress.next_offset, last)
        if last >= len(self.topics[topic].entries) or progress.frozen not in (None, wanted):
            with pytest.raises(ValueError, match="freeze"):
                reader.freeze(0, last)
        else:
            assert reader.freeze(0, last) == wanted
            self.progress[topic, group] = Progress(progress.next_offset, wanted)

    @rule(topic=st.sampled_from(TOPICS), group=st.sampled_from(GROUPS), bad=st.booleans())
    def commit(self, topic: str, group: str, bad: bool) -> None:
        frozen, reader = self.progress[topic, group].frozen, self.readers[topic, group]
        if frozen is None:
            with pytest.raises(ValueError, match="commit"):
                reader.commit(0)
            return
        records = reader.read(0, frozen.first, last=frozen.last, max_records=1, max_bytes=1)
        reader.commit(0, [DeadLetter(record, "bad", "why") for record in records] if bad else [])
        model = self.topics[topic]
        if bad and frozen.first not in model.letters_ever:
            model.letters_ever.add(frozen.first)
            model.waiting.append(frozen.first)
        self.progress[topic, group] = Progress(frozen.last + 1)

    @precondition(lambda self: any(model.waiting for model in self.topics.values()))
    @rule(topic=st.sampled_from(TOPICS))
    def redrive(self, topic: str) -> None:
        model = self.topics[topic]
        assert self.inspector.redrive(topic) == len(model.waiting)
        for offset in model.waiting:
            source = model.entries[offset]
            headers = {**source.headers, "redriven_from": f"{topic}/0/{offset}"}
            model.entries.append(
                Entry(topic, source.value, source.tenant, source.received_at_ns, source.items, 0, headers)
            )
        model.waiting.clear()

    @rule()
    def retain(self) -> None:
        deleted = 0
        for topic, model in self.topics.items():
            stored = min(self.progress[topic, group].next_offset for group in GROUPS)
            deleted += stored - model.start
            model.start = stored
        assert self.retention.trim() == deleted

    @invariant()
    def the_log_reads_like_the_model(self) -> None:
        if not hasattr(self, "readers"):
            return
        for (topic, group), reader in self.readers.items():
            model = self.topics[topic]
            assert reader.progress(0) == self.progress[topic, group]
            assert reader.end_offset(0) == len(model.entries)
            records = reader.read(0, 0, max_records=10_000, max_bytes=1 << 40)
            assert [record.offset for record in records] == list(range(model.start, len(model.entries)))
            assert [
                Entry(r.topic, r.value, r.tenant, r.received_at_ns, r.items or 0, r.rejected, r.headers)
                for r in records
            ] == model.entries[model.start :]

    @invariant()
    def the_snapshot_adds_up(self) -> None:
        if not hasattr(self, "readers"):
            return
        snapshot = self.inspector.snapshot()
        assert {topic: sum(c.items for c in snapshot.counts if c.topic == topic) for topic in TOPICS} == {
            topic: sum(entry.items for entry in model.entries) for topic, model in self.topics.items()
        }
        in_flight = {
            topic: sum(n for (t, _, _), n in snapshot.in_flight_items.items() if t == topic) for topic in TOPICS
        }
        assert in_flight == {
            topic: sum(entry.items for entry in model.entries[self.progress[topic, "store"].next_offset :])
            for topic, model in self.topics.items()
        }
        waiting = {topic: sum(n for (t, _), n in snapshot.dead_letters.items() if t == topic) for topic in TOPICS}
        assert waiting == {topic: len(model.waiting) for topic, model in self.topics.items()}


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
