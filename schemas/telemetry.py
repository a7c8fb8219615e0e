"""The catalogue of our own metrics: what we count about ourselves, under which name, in which unit, with which labels.

Names are `sluiceway_<stage>_<noun>_<unit>[_total]`, the same in the store and in `/metrics`. Labels take few, fixed
values: a tenant's name comes from clients, so it is no label; the ledger answers per tenant, exactly.
Instruments are made by the functions below only, which refuse a name that is not listed. This file does no I/O.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from opentelemetry.metrics import CallbackOptions, Counter, Histogram, Meter, Observation, get_meter

from schemas.errors import ConfigurationError

# What we say about ourselves is stored under a tenant of its own, so that it never changes what a client's ledger says,
# and so that a batch that holds nothing else can be recognized and is not traced: tracing it would make the next one.
SELF_TENANT = "sluiceway"
SCOPE = "sluiceway"


class Kind(enum.StrEnum):
    """Which OpenTelemetry instrument records a metric."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    OBSERVED_COUNTER = "observed counter"
    OBSERVED_GAUGE = "observed gauge"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric of ours.

    Attributes:
        name: as stored and as exposed.
        kind: the instrument.
        unit: UCUM; a noun in braces counts things.
        meaning: what one unit of it stands for.
        labels: attribute keys that a measurement may carry; their values are in `LABELS`.
        bounds: upper bounds of a histogram's buckets, in `unit`.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


LABELS: dict[str, str] = {
    "signal": "`traces`, `metrics` or `logs`",
    "transport": "`grpc` or `http`",
    "outcome": "how it ended; the values are listed with each metric",
    "reason": "why; a fixed word from the code, never text from a client",
    "table": "a table of the store that we insert into",
    "topic": "a topic by its default name, such as `otlp_spans`",
    "component": "`pipeline` (our process) or `store` (the ClickHouse child)",
    "state": "what it came to; the values are listed with the metric",
    "rule": "the name of a redaction rule of the configuration, or of an alert rule",
    "severity": "`page` or `ticket`",
    "query": "the file name of one of the viewer's queries",
}

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ITEMS = (1.0, 10.0, 100.0, 1_000.0, 10_000.0, 30_000.0, 100_000.0, 300_000.0)

_SPECS = (
    MetricSpec(
        "sluiceway_ingest_requests_total",
        Kind.OBSERVED_COUNTER,
        "{request}",
        "Requests answered. Outcomes: `accepted`, `partial` (some items rejected), `malformed`, `unsupported`, "
        "`too_large` (the client must not retry), `refused` (pushed back, the client retries), `failed` (our fault).",
        ("signal", "transport", "outcome"),
    ),
    MetricSpec(
        "sluiceway_ingest_requests_refused_total",
        Kind.OBSERVED_COUNTER,
        "{request}",
        "Requests pushed back with a retry hint, by what refused them: `requests`, `bytes`, `tenant share`, "
        "`signal share`, `tenant rate`, `slow client`, `log`, `circuit`, `stopping`, `other`. A refused request is not "
        "decoded, so its items are unknown.",
        ("signal", "transport", "reason"),
    ),
    MetricSpec(
        "sluiceway_ingest_requests_repeated_total",
        Kind.OBSERVED_COUNTER,
        "{request}",
        "Requests that were not appended, because they have the bytes of one that may be in the log without its client "
        "knowing: they are answered when that one is durable.",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_ingest_items_received_total",
        Kind.OBSERVED_COUNTER,
        "{item}",
        "Spans, data points or log records in requests that were read: accepted plus rejected.",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_ingest_items_accepted_total",
        Kind.OBSERVED_COUNTER,
        "{item}",
        "Spans, data points or log records acknowledged after the log held them durably.",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_ingest_items_rejected_total",
        Kind.OBSERVED_COUNTER,
        "{item}",
        "Items refused one by one and named in `partial_success`.",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_ingest_received_bytes_total",
        Kind.OBSERVED_COUNTER,
        "By",
        "Request bodies after decompression.",
        ("signal", "transport"),
    ),
    MetricSpec(
        "sluiceway_ingest_request_duration_seconds",
        Kind.HISTOGRAM,
        "s",
        "From the last byte of a request to its answer, the durable append included.",
        ("signal", "transport"),
        _SECONDS,
    ),
    MetricSpec(
        "sluiceway_ingest_in_flight_bytes",
        Kind.OBSERVED_GAUGE,
        "By",
        "Bodies admitted and not yet answered; bounded by `ingest.max_in_flight_bytes`.",
    ),
    MetricSpec(
        "sluiceway_ingest_in_flight_requests",
        Kind.OBSERVED_GAUGE,
        "{request}",
        "Requests admitted and not yet answered.",
    ),
    MetricSpec(
        "sluiceway_log_appended_records_total",
        Kind.OBSERVED_COUNTER,
        "{record}",
        "Records made durable in the log.",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_log_appended_bytes_total",
        Kind.OBSERVED_COUNTER,
        "By",
        "Bytes of the records made durable in the log.",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_log_append_duration_seconds",
        Kind.HISTOGRAM,
        "s",
        "One group commit of the log, fsync included.",
        (),
        _SECONDS,
    ),
    MetricSpec(
        "sluiceway_log_append_errors_total",
        Kind.OBSERVED_COUNTER,
        "{error}",
        "Group commits that the log refused (full, read-only, away); nothing of them was acknowledged.",
    ),
    MetricSpec("sluiceway_log_size_bytes", Kind.OBSERVED_GAUGE, "By", "What the log holds on disk."),
    MetricSpec(
        "sluiceway_log_lag_records",
        Kind.OBSERVED_GAUGE,
        "{record}",
        "Records appended and not yet stored.",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_log_lag_items",
        Kind.OBSERVED_GAUGE,
        "{item}",
        "Items appended and not yet stored: the ledger's `in flight`.",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_log_lag_seconds",
        Kind.OBSERVED_GAUGE,
        "s",
        "Age of the oldest record that is not yet stored; 0 when there is none.",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_log_expired_records_total",
        Kind.COUNTER,
        "{record}",
        "Offsets that the retention of a topic deleted before they were stored: data lost.",
        ("topic",),
    ),
    MetricSpec(
        "sluiceway_log_dead_letters",
        Kind.OBSERVED_GAUGE,
        "{record}",
        "Dead letters that wait for `sluiceway deadletters redrive`.",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_log_circuit_state",
        Kind.OBSERVED_GAUGE,
        "{state}",
        "The circuit breaker in front of the log: 0 closed, 1 half-open (one request tries whether the log is back), 2 "
        "open (requests are refused at once).",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_log_circuit_transitions_total",
        Kind.COUNTER,
        "{transition}",
        "Changes of the circuit breaker in front of the log, by the state that it came to: `closed`, `half_open`, "
        "`open`.",
        ("signal", "state"),
    ),
    MetricSpec("sluiceway_processor_batches_total", Kind.COUNTER, "{batch}", "Batches committed.", ("signal",)),
    MetricSpec("sluiceway_processor_batch_items", Kind.HISTOGRAM, "{item}", "Items of one batch.", ("signal",), _ITEMS),
    MetricSpec("sluiceway_processor_items_total", Kind.COUNTER, "{item}", "Items decoded and committed.", ("signal",)),
    MetricSpec(
        "sluiceway_processor_decode_duration_seconds",
        Kind.HISTOGRAM,
        "s",
        "Decoding one batch: log bytes to the bytes of its inserts.",
        ("signal",),
        _SECONDS,
    ),
    MetricSpec(
        "sluiceway_processor_batch_duration_seconds",
        Kind.HISTOGRAM,
        "s",
        "One batch from its freeze to its commit.",
        ("signal",),
        _SECONDS,
    ),
    MetricSpec(
        "sluiceway_processor_batch_retries_total",
        Kind.COUNTER,
        "{attempt}",
        "Attempts to write a batch that failed and were tried again; nothing is lost.",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_processor_dead_letters_total",
        Kind.COUNTER,
        "{record}",
        "Records put aside because they could not be decoded or stored.",
        ("signal", "reason"),
    ),
    MetricSpec(
        "sluiceway_processor_redactions_total",
        Kind.COUNTER,
        "{value}",
        "Values dropped, masked or hashed, by rule; a batch that is tried again counts again. The ledger has the "
        "items, exactly.",
        ("signal", "rule"),
    ),
    MetricSpec(
        "sluiceway_processor_folded_points_total",
        Kind.COUNTER,
        "{item}",
        "Data points stored without their attributes, because their series was over a budget. The view `cardinality` "
        "says of which metric.",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_processor_series_admitted_total",
        Kind.COUNTER,
        "{series}",
        "Series that were new in their hour and within the budgets.",
    ),
    MetricSpec(
        "sluiceway_store_inserted_rows_total", Kind.COUNTER, "{row}", "Rows acknowledged by the store.", ("table",)
    ),
    MetricSpec(
        "sluiceway_store_inserted_bytes_total",
        Kind.COUNTER,
        "By",
        "Bytes of insert bodies acknowledged by the store, before compression.",
        ("table",),
    ),
    MetricSpec(
        "sluiceway_store_insert_duration_seconds",
        Kind.HISTOGRAM,
        "s",
        "One insert, its materialized views and fsync included.",
        ("table",),
        _SECONDS,
    ),
    MetricSpec(
        "sluiceway_processor_retry_budget_retries",
        Kind.OBSERVED_GAUGE,
        "{retry}",
        "Retries that may still be made at their usual pace; below 1 every wait is at least half of the longest.",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_processor_retry_budget_spent_total",
        Kind.COUNTER,
        "{retry}",
        "Retries that waited longer because the budget of retries was spent.",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_store_circuit_state",
        Kind.OBSERVED_GAUGE,
        "{state}",
        "The circuit breaker of a signal in front of the store: 0 closed, 1 half-open (one insert tries whether the "
        "store is back), 2 open (it is not asked).",
        ("signal",),
    ),
    MetricSpec(
        "sluiceway_store_circuit_transitions_total",
        Kind.COUNTER,
        "{transition}",
        "Changes of the circuit breaker in front of the store, by the state that it came to: `closed`, `half_open`, "
        "`open`.",
        ("signal", "state"),
    ),
    MetricSpec(
        "sluiceway_processor_map_minutes_total", Kind.COUNTER, "{minute}", "Minutes of the service map settled."
    ),
    MetricSpec("sluiceway_processor_map_duration_seconds", Kind.HISTOGRAM, "s", "Settling them.", (), _SECONDS),
    MetricSpec(
        "sluiceway_store_restarts_total",
        Kind.OBSERVED_COUNTER,
        "{restart}",
        "How often the embedded store was started again after it died.",
    ),
    MetricSpec(
        "sluiceway_alerts_evaluations_total",
        Kind.COUNTER,
        "{evaluation}",
        "Evaluations of alert rules. Outcomes: `answered`, `failed` (the store gave no answer; alerts keep their "
        "state).",
        ("rule", "outcome"),
    ),
    MetricSpec(
        "sluiceway_alerts_firing",
        Kind.OBSERVED_GAUGE,
        "{alert}",
        "Alerts that fire now, by `page` and `ticket`.",
        ("severity",),
    ),
    MetricSpec(
        "sluiceway_alerts_notices_total",
        Kind.COUNTER,
        "{notice}",
        "Alerts told to the Alertmanager or the webhook. Outcomes: `posted`, `failed` (told again at the next turn).",
        ("outcome",),
    ),
    MetricSpec(
        "sluiceway_viewer_query_duration_seconds",
        Kind.HISTOGRAM,
        "s",
        "One query of the viewer, as the viewer waits for it.",
        ("query",),
        _SECONDS,
    ),
    MetricSpec(
        "sluiceway_runtime_resident_bytes",
        Kind.OBSERVED_GAUGE,
        "By",
        "Resident memory of a process of ours.",
        ("component",),
    ),
    MetricSpec(
        "sluiceway_runtime_cpu_seconds_total",
        Kind.OBSERVED_COUNTER,
        "s",
        "User and system time of a process of ours; starts again at 0 when the process does.",
        ("component",),
    ),
    MetricSpec(
        "sluiceway_telemetry_items_total",
        Kind.COUNTER,
        "{item}",
        "Spans and data points about ourselves. Outcomes: `appended` (durable in the log), `lost` (the log was "
        "away; the next export carries the metrics again, spans are gone).",
        ("signal", "outcome"),
    ),
)

CATALOGUE: dict[str, MetricSpec] = {spec.name: spec for spec in _SPECS}


def spec(name: str, *kinds: Kind) -> MetricSpec:
    """The catalogue's entry of `name`.

    Raises:
        ConfigurationError: no such metric, or it is of none of `kinds`.
    """
    entry = CATALOGUE.get(name)
    if entry is None:
        raise ConfigurationError(f"metric: must be listed in schemas/telemetry.py, received {name!r}")
    if kinds and entry.kind not in kinds:
        raise ConfigurationError(f"metric {name}: must be a {' or '.join(kinds)} here, listed as {entry.kind}")
    return entry


def own_meter() -> Meter:
    """The meter of this process. Instruments made before the provider is set start to record when it is."""
    return get_meter(SCOPE)


def counter(name: str, meter: Meter | None = None) -> Counter:
    """A counter of the catalogue."""
    entry = spec(name, Kind.COUNTER)
    return (meter or own_meter()).create_counter(entry.name, entry.unit, entry.meaning)


def histogram(name: str, meter: Meter | None = None) -> Histogram:
    """A histogram of the catalogue, with its bounds."""
    entry = spec(name, Kind.HISTOGRAM)
    return (meter or own_meter()).create_histogram(
        entry.name, entry.unit, entry.meaning, explicit_bucket_boundaries_advisory=list(entry.bounds)
    )


def observe(name: str, read: Callable[[], Iterable[tuple[float, dict[str, str]]]], meter: Meter | None = None) -> None:
    """Let `read` give the (value, labels) pairs of an observed metric at every collection.

    It MUST return quickly and MUST NOT raise; what it does not know now it leaves out.
    """
    entry = spec(name, Kind.OBSERVED_GAUGE, Kind.OBSERVED_COUNTER)

    def callback(_options: CallbackOptions) -> Sequence[Observation]:
        return [Observation(value, labels) for value, labels in read()]

    create = meter or own_meter()
    if entry.kind is Kind.OBSERVED_GAUGE:
        create.create_observable_gauge(entry.name, [callback], entry.unit, entry.meaning)
    else:
        create.create_observable_counter(entry.name, [callback], entry.unit, entry.meaning)
