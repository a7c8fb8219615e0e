"""The spans that we make about ourselves: one around the writing of each batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Tracer, get_tracer

from schemas.telemetry import SCOPE, SELF_TENANT

BATCH_SPAN = "sluiceway.processor.batch"


@contextmanager
def batch_span(
    tenants: Collection[str], attributes: Mapping[str, str | int], tracer: Tracer | None = None
) -> Iterator[Span]:
    """A span of ours around the writing of one batch; an exception that passes is recorded in it.

    `tenants` are those of the batch's records. Nothing is recorded when all of it is our own telemetry: the span would
    be the next batch.
    """
    if all(tenant == SELF_TENANT for tenant in tenants):
        yield INVALID_SPAN
        return
    with (tracer or get_tracer(SCOPE)).start_as_current_span(
        BATCH_SPAN, kind=SpanKind.CONSUMER, attributes=dict(attributes)
    ) as span:
        yield span
