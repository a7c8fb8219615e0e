"""The balance that the pipeline page shows."""

from __future__ import annotations

from dashboards.viewer.conservation import balances, next_offsets
from schemas.log import LogSnapshot, Progress, TopicCount


def snapshot(*, accepted: int = 100, in_flight: int = 10) -> LogSnapshot:
    return LogSnapshot(
        counts=[TopicCount("otlp_spans", 0, "acme", 4, accepted, 3)],
        progress={("otlp_spans", 0): Progress(7)},
        in_flight_items={("otlp_spans", 0, "acme"): in_flight},
        dead_letters={("otlp_spans", "acme"): 1},
    )


def ledger(stored: int, dead_lettered: int = 0, rejected: int = 0, sampled_out: int = 0) -> list[dict[str, object]]:
    return [
        {"TenantId": "acme", "Signal": "traces", "Topic": "otlp_spans", "ReceivedItems": 90, "StoredItems": stored,
         "RejectedItems": rejected, "SampledOutItems": sampled_out, "DeadLetteredItems": dead_lettered}
    ]  # fmt: skip


def test_what_the_log_took_is_stored_dead_lettered_or_in_flight() -> None:
    (balance,) = balances(snapshot(), ledger(stored=85, dead_lettered=5))
    assert (
        balance.received, balance.stored, balance.dead_lettered, balance.in_flight, balance.waiting, balance.missing,
    ) == (103, 85, 5, 10, 1, 0)  # fmt: skip


def test_a_lost_item_is_missing() -> None:
    (balance,) = balances(snapshot(), ledger(stored=89))
    assert balance.missing == 1


def test_an_item_stored_twice_is_missing_below_zero() -> None:
    (balance,) = balances(snapshot(), ledger(stored=91))
    assert balance.missing == -1


def test_rejected_and_sampled_out_items_are_accounted_for() -> None:
    (balance,) = balances(snapshot(), ledger(stored=80, rejected=4, sampled_out=6))
    assert balance.missing == 0


def test_the_dead_letters_topic_counts_with_its_signal_and_a_foreign_topic_by_its_name() -> None:
    log = LogSnapshot([TopicCount("otlp_logs.dlq", 0, "", 1, 2, 0), TopicCount("other", 0, "", 1, 5, 0)], {}, {}, {})
    assert [(one.signal, one.accepted) for one in balances(log, [])] == [("logs", 2), ("other", 5)]


def test_the_ledger_is_asked_up_to_the_committed_offsets() -> None:
    assert next_offsets(snapshot()) == {"partitions": ["otlp_spans/0"], "next_offsets": [7]}
