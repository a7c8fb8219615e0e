"""A planned request becomes spans, log records and measurements of the instances that took part in it.

Between instances the context travels as W3C trace context in a carrier, as it would in headers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from schemas.signals import Signal
from sluiceway.demo.catalogue import Call, Operation, Publish, Query
from sluiceway.demo.instance import Instance
from sluiceway.demo.plan import Failure, Node
from sluiceway.demo.tally import Tally

_KINDS = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
}
_SEVERITIES = {
    "DEBUG": SeverityNumber.DEBUG,
    "INFO": SeverityNumber.INFO,
    "WARN": SeverityNumber.WARN,
    "ERROR": SeverityNumber.ERROR,
}
_PROPAGATOR = TraceContextTextMapPropagator()
_NS = 1e-9
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36",
)

Attributes = dict[str, AttributeValue]


@dataclass(frozen=True, slots=True)
class Visit:
    """What all spans of one request have in common."""

    user: str
    order: str
    items: int
    amount: float
    products: tuple[str, ...]
    agent: str

    @classmethod
    def draw(cls, rng: random.Random) -> Visit:
        """A visitor with a cart; few users come often, most come seldom."""
        items = 1 + min(11, int(rng.expovariate(0.6)))
        return cls(
            user=f"user-{int(rng.paretovariate(0.9)) % 5000:04d}",
            order=f"{rng.getrandbits(48):012x}",
            items=items,
            amount=round(sum(rng.lognormvariate(3.2, 0.8) for _ in range(items)), 2),
            products=tuple(f"sku-{rng.randrange(400):03d}" for _ in range(items)),
            agent=rng.choice(_AGENTS),
        )


class SimulatedError(Exception):
    """Raised and recorded where a planned failure begins; renamed to the failure's type."""


class Emitter:
    """Emits planned requests."""

    def __init__(self, rng: random.Random, tally: Tally) -> None:
        self._rng, self._tally = rng, tally

    def request(self, root: Node[Instance], start_ns: int) -> None:
        """Emit all of `root`, which begins at `start_ns` (Unix nanoseconds)."""
        self._emit(root, start_ns, Context(), Visit.draw(self._rng))

    def _emit(self, node: Node[Instance], base_ns: int, parent: Context, visit: Visit) -> None:
        started_ns, ended_ns = base_ns + node.start_ns, base_ns + node.end_ns
        links: list[Link] = []
        if node.kind in {"server", "consumer"}:
            parent = _carried(parent)
        if node.kind == "consumer":
            links = [Link(trace.get_current_span(parent).get_span_context(), {"messaging.operation.type": "receive"})]
            parent = parent if node.same_trace else Context()
        name, attributes = _describe(node, visit)
        span = node.instance.tracer.start_span(
            name, parent, _KINDS[node.kind], attributes, links, start_time=started_ns
        )
        context = trace.set_span_in_context(span, Context())
        for child in node.children:
            self._emit(child, base_ns, context, visit)
        for at_ns in node.fallbacks:
            span.add_event("fallback used", {"app.fallback": "bestsellers"}, timestamp=base_ns + at_ns)
        if isinstance(node.step, Publish):
            span.add_event("message.acknowledged", {"messaging.kafka.offset": self._rng.randrange(1 << 20)}, ended_ns)
        if node.failure:
            _record(span, node.failure, ended_ns)
        span.end(ended_ns)
        self._tally.make(Signal.TRACES)
        if node.operation:
            self._say(node, node.operation, ended_ns, context, visit)
        _measure(node, (ended_ns - started_ns) * _NS, context, visit)

    def _say(self, node: Node[Instance], operation: Operation, at_ns: int, context: Context, visit: Visit) -> None:
        duration_ms = round((node.end_ns - node.start_ns) / 1e6, 3)
        attributes: Attributes = {
            "app.operation": operation.name,
            "app.duration_ms": duration_ms,
            "app.user.id": visit.user,
        }
        if node.failure:
            severity, text = ("ERROR" if node.failure.here else "WARN"), node.failure.message
            attributes |= {"exception.type": node.failure.error_type, "exception.message": node.failure.message}
        elif node.fallbacks:
            severity, text = "WARN", "recommendations are unavailable, bestsellers shown"
        elif operation.protocol == "rpc" and duration_ms > 500:
            severity, text = "WARN", f"{operation.name} was slow"
        else:
            severity, text = operation.says
        if not severity:
            return
        structured = operation.name == "checkout.PlaceOrder"
        node.instance.logger.emit(
            timestamp=at_ns,
            observed_timestamp=at_ns + 50_000,
            context=context,
            severity_number=_SEVERITIES[severity],
            severity_text=severity,
            body={"message": text, "order": visit.order, "items": visit.items, "amount": visit.amount}
            if structured
            else text,
            attributes=attributes,
            event_name="shop.order" if structured else None,
        )
        self._tally.make(Signal.LOGS)


def _carried(sender: Context) -> Context:
    """The context as the receiver sees it: through a carrier, which is all that travels."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, sender)
    return _PROPAGATOR.extract(carrier, Context())


def _record(span: trace.Span, failure: Failure, at_ns: int) -> None:
    span.set_status(Status(StatusCode.ERROR, failure.message))
    span.set_attribute("error.type", failure.error_type)
    if failure.here:
        try:
            raise type(failure.error_type, (SimulatedError,), {"__module__": "shop"})(failure.message)
        except SimulatedError as error:
            span.record_exception(error, timestamp=at_ns)


def _describe(node: Node[Instance], visit: Visit) -> tuple[str, Attributes]:
    """A span's name and attributes, by the semantic conventions of its kind."""
    step, operation = node.step, node.operation
    if operation:
        return operation.name, _served(node, operation, visit)
    if isinstance(step, Query):
        return f"{step.statement.split(' ', 1)[0]} {step.collection}", {
            "db.system.name": step.system,
            "db.collection.name": step.collection,
            "db.query.text": step.statement,
            "server.address": f"{step.system}.shop.svc",
            "server.port": 6379 if step.system == "redis" else 5432,
        }
    if isinstance(step, Publish):
        return f"send {step.topic}", {
            "messaging.system": "kafka",
            "messaging.destination.name": step.topic,
            "messaging.operation.type": "send",
            "messaging.message.id": visit.order,
        }
    if isinstance(step, Call):
        service, _, method = step.operation.partition(".")
        return step.operation, {
            "rpc.system.name": "grpc",
            "rpc.method": f"shop.{step.operation}",
            "server.address": service,
            "rpc.service": service,
            "app.method": method,
        }
    return (step.name if step else node.kind), {"app.step": True}


def _served(node: Node[Instance], operation: Operation, visit: Visit) -> Attributes:
    common: Attributes = {"app.user.id": visit.user}
    if operation.protocol == "http":
        method, _, route = operation.name.partition(" ")
        return common | {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": 500 if node.failure else 200,
            "url.scheme": "https",
            "url.path": route.replace("{id}", visit.products[0]),
            "user_agent.original": visit.agent,
            "server.address": "shop.example",
            "network.protocol.version": "1.1",
        }
    if operation.protocol == "message":
        return common | {
            "messaging.system": "kafka",
            "messaging.destination.name": "orders" if operation.service == "shipping" else "mails",
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": operation.service,
            "messaging.message.id": visit.order,
        }
    attributes: Attributes = common | {
        "rpc.system.name": "grpc",
        "rpc.method": f"shop.{operation.name}",
        "rpc.response.status_code": "INTERNAL" if node.failure else "OK",
    }
    if operation.service == "checkout":
        attributes |= {
            "app.order.id": visit.order,
            "app.order.amount": visit.amount,
            "app.order.items": visit.items,
            "app.order.products": visit.products,
            "app.order.discounted": visit.amount > 200,
        }
    return attributes


def _measure(node: Node[Instance], duration_s: float, context: Context, visit: Visit) -> None:
    instance, operation, step = node.instance, node.operation, node.step
    error: Attributes = {"error.type": node.failure.error_type} if node.failure else {}
    instance.busy(duration_s * 0.05)
    if isinstance(step, Call):
        instance.call_duration.record(duration_s, {"rpc.method": f"shop.{step.operation}"} | error, context)
    elif isinstance(step, Query):
        instance.query_duration.record(
            duration_s, {"db.system.name": step.system, "db.collection.name": step.collection}, context
        )
    elif isinstance(step, Publish):
        instance.sent.add(1, {"messaging.destination.name": step.topic}, context)
    if operation is None:
        return
    if operation.protocol == "http":
        method, _, route = operation.name.partition(" ")
        labels: Attributes = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": 500 if node.failure else 200,
        }
        instance.http_duration.record(duration_s, labels | error, context)
    elif operation.protocol == "rpc":
        instance.rpc_duration.record(duration_s, {"rpc.method": f"shop.{operation.name}"} | error, context)
    else:
        instance.consumed.add(1, {"messaging.consumer.group.name": operation.service} | error, context)
    if node.failure:
        return
    if operation.name == "cart.AddItem":
        instance.cart_items.add(visit.items, context=context)
    elif operation.name == "cart.Empty":
        instance.cart_items.add(-visit.items, context=context)
    elif operation.name == "checkout.PlaceOrder":
        instance.orders.add(1, {"app.order.discounted": visit.amount > 200}, context)
        instance.revenue.add(visit.amount, context=context)
