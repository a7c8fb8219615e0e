"""One flat set of figures, and the table that shows them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.collector import KafkaPathCost
from bench.end_to_end import Cost
from bench.receive import Received
from bench.spans import Dataset

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure has to reach: at least (`least`) or at most `value`."""

    value: float
    least: bool = False

    def met(self, figure: float) -> bool:
        """Whether the figure is good enough."""
        return figure >= self.value if self.least else figure <= self.value

    def __str__(self) -> str:
        return f"{'>=' if self.least else '<='} {self.value:,.6g}"


BOUNDS = {
    "decode_spans_per_s": Bound(1_500_000, least=True),
    "decode_over_upb_walk": Bound(9, least=True),
    "insert_bytes_spans_per_s": Bound(1_200_000, least=True),
    "receive_append_us_per_span": Bound(2),
    "end_to_end_over_rotel": Bound(0.3333),
    "kafka_end_to_end_over_collector": Bound(0.25),
    "resident_bytes_max": Bound(1200 * 1000 * 1000),
    "rollup_share_of_cpu": Bound(0.3),
    "slowest_rollup_query_ms": Bound(300),
    "trace_by_id_ms": Bound(100),
}
EXPLAINED = {
    "decode_spans_per_s": "wire bytes to columns, spans a CPU second",
    "upb_walk_spans_per_s": "upb objects walked into tuples and dicts, the same spans",
    "decode_over_upb_walk": "the ratio of the two, median of paired rounds",
    "insert_bytes_spans_per_s": "wire bytes to the bytes of an insert, spans a CPU second",
    "receive_append_us_per_span": "gRPC receiver, validation, durable append: CPU us a span",
    "small_request_us": "the same for requests of 8 spans: CPU us a request",
    "end_to_end_us_per_span": "request to merged rows and rollups, all processes: CPU us a span",
    "agent_us_per_span": "of it: Sluiceway itself",
    "store_insert_us_per_span": "of it: the store's inserts, views and background merges",
    "store_final_merge_us_per_span": "of it: the store's final merge",
    "service_map_us_per_span": "beside it: the edges of the service map, made once",
    "rollup_share_of_cpu": "of it: what it costs less without the views of rollups, as a share",
    "slowest_rollup_query_ms": "the slowest question to a week of rollups",
    "trace_by_id_ms": "the spans of one trace out of a week, median",
    "slowest_trace_by_id_ms": "the slowest of them",
    "log_search_ms": "the newest log records with one word out of a week",
    "rotel_us_per_span": "Rotel into the stock table, all processes: CPU us a span",
    "rotel_agent_us_per_span": "of it: Rotel itself",
    "rotel_store_us_per_span": "of it: the store, final merge included",
    "end_to_end_over_rotel": "the ratio of the two, median of paired rounds",
    "identical_table_us_per_span": "Sluiceway with our blocks in the stock table instead",
    "identical_table_over_rotel": "the ratio to Rotel, median of paired rounds",
    "bytes_a_row": "our table on disk, rollups apart",
    "rotel_bytes_a_row": "the stock table on disk",
    "kafka_end_to_end_us_per_span": "request to merged rows through Kafka, the broker left out: CPU us a span",
    "kafka_ingest_us_per_span": "of it: sluiceway ingest",
    "kafka_process_us_per_span": "of it: sluiceway process",
    "kafka_store_us_per_span": "of it: the store, final merge included",
    "kafka_broker_us_per_span": "beside it: the broker",
    "kafka_client_us_per_span": "of ingest and process: kafka-python alone, both sides",
    "collector_us_per_span": "two Collectors and the stock table, the broker left out: CPU us a span",
    "collector_to_kafka_us_per_span": "of it: OTLP to Kafka",
    "collector_from_kafka_us_per_span": "of it: Kafka to ClickHouse",
    "collector_store_us_per_span": "of it: the store, final merge included",
    "kafka_end_to_end_over_collector": "the ratio of the two, median of paired rounds",
    "resident_bytes_max": "Sluiceway and its store together, at full load",
    "rotel_resident_bytes_max": "Rotel and its store together",
    "end_to_end_spans_per_s": "spans a second of wall time, load generator on the same machine",
}


@dataclass(frozen=True, slots=True)
class Round:
    """Measures taken right after each other, so that their ratios hold on a noisy machine."""

    ours: Cost
    without_rollups: Cost
    peer: Cost
    identical_table: Cost

    @property
    def identical_us(self) -> float:
        """Our pipeline's own CPU and the store's for our blocks in the stock table."""
        return self.ours.us(self.ours.agent_s) + self.identical_table.us_per_span


@dataclass(frozen=True, slots=True)
class KafkaRound:
    """The Kafka path and its peer, measured right after each other on one broker."""

    ours: KafkaPathCost
    peer: KafkaPathCost
    client_us: float


def kafka_figures(rounds: Sequence[KafkaRound]) -> dict[str, float]:
    """The Kafka path's figures, medians; nothing where it was not measured."""
    if not rounds:
        return {}
    median = statistics.median
    ours, peers = [each.ours for each in rounds], [each.peer for each in rounds]
    return {
        "kafka_end_to_end_us_per_span": median(cost.us_per_span for cost in ours),
        "kafka_ingest_us_per_span": median(cost.us(cost.to_kafka_s) for cost in ours),
        "kafka_process_us_per_span": median(cost.us(cost.from_kafka_s) for cost in ours),
        "kafka_store_us_per_span": median(cost.us(cost.store_s + cost.final_merge_s) for cost in ours),
        "kafka_broker_us_per_span": median(cost.us(cost.broker_s) for cost in ours),
        "kafka_client_us_per_span": median(each.client_us for each in rounds),
        "collector_us_per_span": median(cost.us_per_span for cost in peers),
        "collector_to_kafka_us_per_span": median(cost.us(cost.to_kafka_s) for cost in peers),
        "collector_from_kafka_us_per_span": median(cost.us(cost.from_kafka_s) for cost in peers),
        "collector_store_us_per_span": median(cost.us(cost.store_s + cost.final_merge_s) for cost in peers),
        "kafka_end_to_end_over_collector": median(each.ours.us_per_span / each.peer.us_per_span for each in rounds),
    }


def figures(
    decoded: Mapping[str, float],
    received: Sequence[Received],
    small: Sequence[Received],
    rounds: Sequence[Round],
) -> dict[str, float]:
    """All figures: medians, but the largest of the memory."""
    median = statistics.median
    ours, peers = [each.ours for each in rounds], [each.peer for each in rounds]
    return {
        **decoded,
        "receive_append_us_per_span": median(each.us_per_span for each in received),
        "small_request_us": median(each.us_per_request for each in small),
        "end_to_end_us_per_span": median(cost.us_per_span for cost in ours),
        "agent_us_per_span": median(cost.us(cost.agent_s) for cost in ours),
        "store_insert_us_per_span": median(cost.us(cost.store_s) for cost in ours),
        "store_final_merge_us_per_span": median(cost.us(cost.final_merge_s) for cost in ours),
        "service_map_us_per_span": median(cost.us(cost.service_map_s) for cost in ours),
        "rollup_share_of_cpu": median(1 - each.without_rollups.us_per_span / each.ours.us_per_span for each in rounds),
        "rotel_us_per_span": median(cost.us_per_span for cost in peers),
        "rotel_agent_us_per_span": median(cost.us(cost.agent_s) for cost in peers),
        "rotel_store_us_per_span": median(cost.us(cost.store_s + cost.final_merge_s) for cost in peers),
        "end_to_end_over_rotel": median(each.ours.us_per_span / each.peer.us_per_span for each in rounds),
        "identical_table_us_per_span": median(each.identical_us for each in rounds),
        "identical_table_over_rotel": median(each.identical_us / each.peer.us_per_span for each in rounds),
        "bytes_a_row": median(cost.bytes_a_row for cost in ours),
        "rotel_bytes_a_row": median(cost.bytes_a_row for cost in peers),
        "resident_bytes_max": max(cost.resident_bytes for cost in ours),
        "rotel_resident_bytes_max": max(cost.resident_bytes for cost in peers),
        "end_to_end_spans_per_s": median(cost.spans / cost.elapsed_s for cost in ours),
    }


def table(found: Mapping[str, float]) -> str:
    """The figures with their bounds, a line each."""
    lines = [f"{'figure':32} {'value':>14}  {'bound':>15}  what"]
    for name, what in EXPLAINED.items():
        if name not in found:
            continue
        bound = BOUNDS.get(name)
        verdict = "" if bound is None else f"{bound} {'yes' if bound.met(found[name]) else 'NO'}"
        lines.append(f"{name:32} {_number(found[name]):>14}  {verdict:>15}  {what}")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"


def describe(dataset: Dataset) -> str:
    """The dataset in a sentence."""
    return (
        f"dataset: {dataset.spans:,} distinct spans of {dataset.bytes_a_span:.0f} bytes of OTLP protobuf in requests "
        f"of {dataset.spans_a_request}, 8 span and 8 resource attributes, 12 spans a trace, 5 % errors with one event; "
        f"before them {dataset.warm_up_spans:,} others to warm up"
    )


def write(path: Path, found: Mapping[str, float | str]) -> None:
    """The figures as flat JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
