"""The laws of `schemas.log` that every log keeps; a test here may not know which log it runs on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import FencedError, TooLargeError
from schemas.log import DeadLetter, Entry, LogReader, OffsetRange, Progress, Record, TopicCount
from tests.contract.logs_under_test import LOGS, LogUnderTest

SPANS = "otlp_spans"
LOG_RECORDS = "otlp_logs"


@pytest.fixture(params=LOGS)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogUnderTest]:
    opened = LOGS[request.param](tmp_path, request)
    yield opened
    opened.close()


def entry(value: bytes = b"x", *, topic: str = SPANS, tenant: str = "", items: int = 1, rejected: int = 0) -> Entry:
    return Entry(topic, value, tenant=tenant, received_at_ns=17, items=items, rejected=rejected)


def read(reader: LogReader, first: int = 0, *, max_records: int = 1000, max_bytes: int = 1 << 30) -> list[Record]:
    """Read once all that was appended before is at hand: a log across a network fetches."""
    end = reader.end_offset(0)
    # Where a redrive was a transaction, its mark takes an offset that no record has.
    for _ in range(20):
        at_hand = reader.read(0, first, max_records=1000, max_bytes=1 << 30)
        if (at_hand[-1].offset + 1 if at_hand else first) >= end:
            break
        reader.wait(0.1)
    return reader.read(0, first, max_records=max_records, max_bytes=max_bytes)


def read_all(reader: LogReader, *, first: int = 0, last: int | None = None) -> list[Record]:
    if last is not None:
        return reader.read(0, first, last=last, max_records=1000, max_bytes=1 << 30)
    return read(reader, first)


def values(records: list[Record]) -> list[bytes]:
    return [record.value for record in records]


def store_all(reader: LogReader) -> None:
    reader.freeze(0, read_all(reader, first=reader.progress(0).next_offset)[-1].offset)
    reader.commit(0)


def dead_letter(record: Record, reason: str = "malformed") -> DeadLetter:
    return DeadLetter(record, reason, "offset 3: truncated", failed_at_ns=99)


def test_a_record_is_read_as_it_was_appended(log: LogUnderTest) -> None:
    log.writer().append([Entry(SPANS, b"\x00\xffbody", "acme", 1_700_000_000_000_000_001, 12, 3, {"a": "ü", "b": ""})])

    [record] = read_all(log.reader())

    assert record == Record(
        SPANS, 0, record.offset, b"\x00\xffbody", "acme", 1_700_000_000_000_000_001, 12, 3, {"a": "ü", "b": ""}
    )


def test_offsets_grow_in_the_order_of_appends(log: LogUnderTest) -> None:
    writer = log.writer()
    for batch in (b"a", b"bc", b"def"):
        writer.append([entry(bytes([value])) for value in batch])

    records = read_all(log.reader())

    assert values(records) == [b"a", b"b", b"c", b"d", b"e", b"f"]
    assert [r.offset for r in records] == sorted({r.offset for r in records})


def test_an_empty_append_appends_nothing(log: LogUnderTest) -> None:
    log.writer().append([])
    assert read_all(log.reader()) == []


def test_topics_do_not_see_each_other(log: LogUnderTest) -> None:
    log.writer().append([entry(b"span"), entry(b"log", topic=LOG_RECORDS), entry(b"span 2")])
    assert values(read_all(log.reader(SPANS))) == [b"span", b"span 2"]
    assert values(read_all(log.reader(LOG_RECORDS))) == [b"log"]


def test_one_record_over_the_bound_refuses_the_whole_append(log: LogUnderTest) -> None:
    writer = log.writer()
    bound = writer.max_record_bytes()
    with pytest.raises(TooLargeError, match=str(bound)):
        writer.append([entry(b"fits"), entry(b"x" * (bound + 1))])
    writer.append([entry(b"y" * bound)])
    assert values(read_all(log.reader())) == [b"y" * bound]


def test_an_empty_value_is_a_record(log: LogUnderTest) -> None:
    log.writer().append([entry(b"")])
    assert values(read_all(log.reader())) == [b""]


def test_threads_that_append_at_once_lose_and_tear_nothing(log: LogUnderTest) -> None:
    writer = log.writer()

    def append(thread: int) -> None:
        for number in range(20):
            writer.append([entry(f"{thread} {number} {half}".encode()) for half in "ab"])

    threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    read = values(read_all(log.reader()))
    assert sorted(read) == sorted(f"{t} {n} {h}".encode() for t in range(4) for n in range(20) for h in "ab")
    assert [value[:-1] for value in read[::2]] == [value[:-1] for value in read[1::2]]


def test_reading_stops_at_the_last_offset_asked_for(log: LogUnderTest) -> None:
    log.writer().append([entry(bytes([n])) for n in range(5)])
    reader = log.reader()
    offsets = [record.offset for record in read_all(reader)]
    assert [record.offset for record in read_all(reader, first=offsets[1], last=offsets[3])] == offsets[1:4]


def test_reading_stops_at_the_number_of_records_asked_for(log: LogUnderTest) -> None:
    log.writer().append([entry(bytes([n])) for n in range(5)])
    assert values(read(log.reader(), max_records=2, max_bytes=1 << 30)) == [b"\0", b"\1"]


def test_reading_stays_within_the_bytes_asked_for(log: LogUnderTest) -> None:
    log.writer().append([entry(b"x" * 1000) for _ in range(5)])
    assert len(read(log.reader(), max_records=10, max_bytes=3000)) == 3
    assert len(read(log.reader(), max_records=10, max_bytes=2999)) == 2


def test_a_record_over_the_bytes_asked_for_is_read_alone(log: LogUnderTest) -> None:
    log.writer().append([entry(b"x" * 1000), entry(b"y")])
    assert values(read(log.reader(), max_records=10, max_bytes=10)) == [b"x" * 1000]


def test_reading_past_the_end_gives_nothing(log: LogUnderTest) -> None:
    log.writer().append([entry()])
    reader = log.reader()
    assert read_all(reader, first=reader.end_offset(0)) == []


def test_the_end_offset_is_where_the_next_record_may_land(log: LogUnderTest) -> None:
    writer, reader = log.writer(), log.reader()
    writer.append([entry(b"a")])
    end = reader.end_offset(0)
    writer.append([entry(b"b")])
    assert values(read_all(reader, first=end)) == [b"b"]


def test_a_new_group_starts_at_the_first_record(log: LogUnderTest) -> None:
    log.writer().append([entry()])
    progress = log.reader(group="new").progress(0)
    assert progress.frozen is None
    assert progress.next_offset <= read_all(log.reader())[0].offset


def test_a_frozen_range_starts_at_the_next_offset_and_is_kept(log: LogUnderTest) -> None:
    log.writer().append([entry(), entry(), entry()])
    reader = log.reader()
    second = read_all(reader)[1].offset

    frozen = reader.freeze(0, second)

    assert frozen == OffsetRange(reader.progress(0).next_offset, second)
    reader.close()
    assert log.reader().progress(0).frozen == frozen


def test_committing_moves_past_the_frozen_range_and_lifts_it(log: LogUnderTest) -> None:
    log.writer().append([entry(b"a"), entry(b"b"), entry(b"c")])
    reader = log.reader()
    reader.freeze(0, read_all(reader)[1].offset)

    reader.commit(0)

    progress = reader.progress(0)
    assert progress.frozen is None
    assert values(read_all(reader, first=progress.next_offset)) == [b"c"]


def test_two_groups_stand_apart(log: LogUnderTest) -> None:
    log.writer().append([entry()])
    one, other = log.reader(group="one"), log.reader(group="other")
    before = other.progress(0)
    store_all(one)
    assert other.progress(0) == before
    assert one.progress(0).next_offset > before.next_offset


def test_a_second_range_cannot_be_frozen(log: LogUnderTest) -> None:
    log.writer().append([entry(), entry()])
    reader = log.reader()
    first, second = (record.offset for record in read_all(reader))
    frozen = reader.freeze(0, first)
    with pytest.raises(ValueError, match="frozen"):
        reader.freeze(0, second)
    assert reader.progress(0).frozen == frozen


def test_nothing_can_be_committed_that_was_not_frozen(log: LogUnderTest) -> None:
    log.writer().append([entry()])
    reader = log.reader()
    before = reader.progress(0)
    with pytest.raises(ValueError, match="nothing is frozen"):
        reader.commit(0)
    assert reader.progress(0) == before


def test_an_offset_that_does_not_exist_yet_cannot_be_frozen(log: LogUnderTest) -> None:
    log.writer().append([entry()])
    reader = log.reader()
    with pytest.raises(ValueError, match="last must be"):
        reader.freeze(0, reader.end_offset(0))
    assert reader.progress(0).frozen is None


def test_a_reader_whose_partition_was_taken_over_is_fenced(log: LogUnderTest) -> None:
    log.writer().append([entry()])
    old = log.reader()
    last = read_all(old)[-1].offset
    old.freeze(0, last)
    new = log.take_over()
    frozen = new.progress(0).frozen

    with pytest.raises(FencedError):
        old.commit(0)
    with pytest.raises(FencedError):
        old.freeze(0, last)

    old.close()
    assert list(new.partitions()) == [0]
    assert new.progress(0).frozen == frozen
    new.commit(0)
    assert new.progress(0) == Progress(last + 1, None)


def test_everything_acked_and_committed_is_there_after_reopening(log: LogUnderTest) -> None:
    writer, reader = log.writer(), log.reader()
    writer.append([entry(b"a"), entry(b"b"), entry(b"c")])
    reader.freeze(0, read_all(reader)[0].offset)
    reader.commit(0)
    frozen = reader.freeze(0, read_all(reader)[1].offset)
    log.close()

    writer, reader = log.writer(), log.reader()
    writer.append([entry(b"d")])
    assert reader.progress(0) == Progress(frozen.first, frozen)
    assert values(read_all(reader, first=frozen.first, last=frozen.last)) == [b"b"]
    assert values(read_all(reader, first=frozen.last + 1)) == [b"c", b"d"]


def test_dead_letters_are_kept_with_their_source_and_reason(log: LogUnderTest) -> None:
    log.writer().append([Entry(SPANS, b"bad", "acme", 17, 4, 1, {"h": "v"})])
    reader = log.reader()
    [bad] = read_all(reader)
    reader.freeze(0, bad.offset)

    reader.commit(0, [dead_letter(bad)])

    [kept] = log.inspector().dead_letters()
    assert kept.letter == dead_letter(bad)
    assert kept.redriven_at_ns is None


def test_a_source_position_is_dead_lettered_once(log: LogUnderTest) -> None:
    log.writer().append([entry(b"bad")])
    for group in ("store", "other"):
        reader = log.reader(group=group)
        [bad] = read_all(reader)
        reader.freeze(0, bad.offset)
        reader.commit(0, [dead_letter(bad), dead_letter(bad, "again")])
    assert [kept.letter.reason for kept in log.inspector().dead_letters()] == ["malformed"]


def test_dead_letters_page_by_id_and_filter_by_source_topic(log: LogUnderTest) -> None:
    writer = log.writer()
    for topic in (SPANS, LOG_RECORDS):
        writer.append([entry(f"{topic} {n}".encode(), topic=topic) for n in range(3)])
        reader = log.reader(topic)
        records = read_all(reader)
        reader.freeze(0, records[-1].offset)
        reader.commit(0, [dead_letter(record) for record in records])
    inspector = log.inspector()

    of_spans = inspector.dead_letters(SPANS)
    assert [kept.letter.source.value for kept in of_spans] == [b"otlp_spans 0", b"otlp_spans 1", b"otlp_spans 2"]
    assert inspector.dead_letters(SPANS, after_id=of_spans[0].id, limit=1) == [of_spans[1]]
    assert len(inspector.dead_letters()) == 6


def test_a_redriven_dead_letter_is_appended_to_its_source_once(log: LogUnderTest) -> None:
    log.writer().append([Entry(SPANS, b"bad", "acme", 17, 4, 1, {"h": "v"}), entry(b"good")])
    reader = log.reader()
    bad, good = read_all(reader)
    reader.freeze(0, good.offset)
    reader.commit(0, [dead_letter(bad)])
    inspector = log.inspector()

    assert [inspector.redrive(SPANS), inspector.redrive(SPANS)] == [1, 0]

    [again] = read_all(reader, first=good.offset + 1)
    headers = {"h": "v", "redriven_from": f"{SPANS}/0/{bad.offset}"}
    assert again == Record(SPANS, 0, again.offset, b"bad", "acme", 17, 4, 0, headers)
    [kept] = inspector.dead_letters()
    assert kept.redriven_at_ns is not None


def test_only_the_chosen_dead_letters_are_redriven(log: LogUnderTest) -> None:
    log.writer().append([entry(bytes([n])) for n in range(4)])
    reader = log.reader()
    records = read_all(reader)
    reader.freeze(0, records[-1].offset)
    reader.commit(0, [dead_letter(record) for record in records])
    inspector = log.inspector()
    ids = [kept.id for kept in inspector.dead_letters()]

    assert inspector.redrive(SPANS, [ids[1], ids[3], ids[3] + 1000]) == 2

    assert values(read_all(reader, first=records[-1].offset + 1)) == [b"\1", b"\3"]
    assert [kept.id for kept in inspector.dead_letters() if kept.redriven_at_ns is None] == [ids[0], ids[2]]


def test_a_redriven_record_that_fails_again_is_a_new_dead_letter(log: LogUnderTest) -> None:
    log.writer().append([entry(b"bad")])
    reader = log.reader()
    inspector = log.inspector()
    for _ in range(2):
        [bad] = read_all(reader, first=reader.progress(0).next_offset)
        reader.freeze(0, bad.offset)
        reader.commit(0, [dead_letter(bad)])
        assert inspector.redrive(SPANS) == 1
    assert len(inspector.dead_letters()) == 2


def test_the_snapshot_counts_every_append_by_topic_and_tenant(log: LogUnderTest) -> None:
    writer = log.writer()
    writer.append([entry(tenant="a", items=3, rejected=1), entry(tenant="b", items=5), entry(tenant="a", items=7)])
    writer.append([entry(tenant="a", items=11, rejected=2), entry(topic=LOG_RECORDS, items=13)])

    counts = sorted(log.inspector().snapshot().counts, key=lambda count: (count.topic, count.tenant))

    assert counts == [
        TopicCount(LOG_RECORDS, 0, "", 1, 13, 0),
        TopicCount(SPANS, 0, "a", 3, 21, 3),
        TopicCount(SPANS, 0, "b", 1, 5, 0),
    ]


def test_the_snapshot_shows_what_is_in_flight_and_where_readers_stand(log: LogUnderTest) -> None:
    log.writer().append([entry(tenant="a", items=3), entry(tenant="b", items=5), entry(tenant="b", items=7)])
    reader = log.reader()
    offsets = [record.offset for record in read_all(reader)]
    reader.freeze(0, offsets[0])
    reader.commit(0)
    frozen = reader.freeze(0, offsets[1])

    snapshot = log.inspector().snapshot()

    assert snapshot.progress[SPANS, 0] == Progress(frozen.first, frozen)
    assert snapshot.in_flight_items == {(SPANS, 0, "b"): 12}


def test_the_snapshot_counts_dead_letters_that_wait(log: LogUnderTest) -> None:
    log.writer().append([entry(tenant="a"), entry(tenant="a"), entry(tenant="b")])
    reader = log.reader()
    records = read_all(reader)
    reader.freeze(0, records[-1].offset)
    reader.commit(0, [dead_letter(record) for record in records])
    inspector = log.inspector()
    assert inspector.snapshot().dead_letters == {(SPANS, "a"): 2, (SPANS, "b"): 1}
    inspector.redrive(SPANS, [inspector.dead_letters()[0].id])
    assert inspector.snapshot().dead_letters == {(SPANS, "a"): 1, (SPANS, "b"): 1}


def test_accepted_items_are_stored_in_flight_or_dead_lettered(log: LogUnderTest) -> None:
    log.writer().append([entry(tenant=tenant, items=items) for tenant in "ab" for items in range(1, 6)])
    reader, inspector = log.reader(), log.inspector()
    stored = dead = 0
    while batch := read(reader, reader.progress(0).next_offset, max_records=3, max_bytes=1 << 20):
        reader.freeze(0, batch[-1].offset)
        reader.commit(0, [dead_letter(batch[0])])
        dead += batch[0].items or 0
        stored += sum(record.items or 0 for record in batch[1:])
        snapshot = inspector.snapshot()
        assert sum(count.items for count in snapshot.counts) == stored + dead + sum(snapshot.in_flight_items.values())


def test_the_newest_records_are_shown_whether_they_are_stored_or_not(log: LogUnderTest) -> None:
    writer, inspector, reader = log.writer(), log.inspector(), log.reader()
    assert inspector.newest(SPANS, 5) == []
    writer.append([entry(b"%d" % number, tenant="acme", items=number) for number in range(8)])
    writer.append([entry(b"other", topic=LOG_RECORDS)])
    store_all(reader)
    writer.append([entry(b"8", items=8)])
    found = inspector.newest(SPANS, 3)
    assert [(record.topic, record.value, record.items) for record in found] == [
        (SPANS, b"6", 6),
        (SPANS, b"7", 7),
        (SPANS, b"8", 8),
    ]
    assert len(inspector.newest(SPANS, 100)) == 9
    assert reader.progress(0).frozen is None


def test_the_log_says_how_large_it_is(log: LogUnderTest) -> None:
    writer, inspector = log.writer(), log.inspector()
    before = inspector.size_bytes()
    writer.append([entry(random.randbytes(100_000)) for _ in range(10)])  # A log may compress what is alike.
    assert inspector.size_bytes() - before >= 1_000_000


def test_waiting_returns_for_an_append_made_before_the_wait(log: LogUnderTest) -> None:
    writer, reader = log.writer(), log.reader()
    assert read_all(reader) == []
    writer.append([entry()])
    reader.wait(60)  # The suite's timeout fails a wait that misses what came between read and wait.
    assert len(read_all(reader)) == 1


def test_waiting_returns_for_an_append_made_meanwhile(log: LogUnderTest) -> None:
    writer, reader = log.writer(), log.reader()
    assert read_all(reader) == []
    waits = threading.Thread(target=reader.wait, args=(60,))
    waits.start()
    time.sleep(0.05)
    writer.append([entry()])
    waits.join(30)
    assert not waits.is_alive()


def test_waiting_ends_without_news(log: LogUnderTest) -> None:
    log.writer()
    reader = log.reader()
    assert read_all(reader) == []
    reader.wait(0.01)
    assert read_all(reader) == []


def test_a_log_keeps_its_identity_over_reopening(log: LogUnderTest) -> None:
    log.writer()
    identities = {topic: log.reader(topic).log_id() for topic in (SPANS, LOG_RECORDS)}
    snapshot = log.inspector().snapshot()
    assert {topic: snapshot.log_ids[topic] for topic in identities} == identities
    log.close()
    log.writer()
    assert {topic: log.reader(topic).log_id() for topic in identities} == identities


def test_two_logs_never_share_an_identity(log: LogUnderTest, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = LOGS[request.node.callspec.params["log"]](tmp_path / "other", request)
    log.writer()
    other.writer()
    assert log.reader().log_id() != other.reader().log_id()
    other.close()
