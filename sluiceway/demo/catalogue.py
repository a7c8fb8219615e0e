"""The shop as data: its services, what each operation does and whom it calls, and the release that goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Transport = Literal["grpc", "http"]
Protocol = Literal["http", "rpc", "message"]


@dataclass(frozen=True, slots=True)
class Service:
    """One service: how many instances run, in which version, and how their SDKs export.

    `delta` sends sums and histograms with delta temporality, as some SDKs do by default.
    """

    name: str
    version: str
    instances: int
    transport: Transport
    gzip: bool = False
    delta: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """An internal span."""

    name: str
    median_ms: float


@dataclass(frozen=True, slots=True)
class Query:
    """A client span towards a database that reports nothing itself."""

    system: str
    collection: str
    statement: str
    median_ms: float


@dataclass(frozen=True, slots=True)
class Call:
    """A client span here and a server span there. A failed optional call is replaced by a fallback."""

    operation: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Publish:
    """A producer span here; later a consumer span there that links to it, in the same trace or in one of its own."""

    topic: str
    operation: str
    same_trace: bool
    delay_ms: float


Step = Work | Query | Call | Publish


@dataclass(frozen=True, slots=True)
class Operation:
    """What a service does for one request. Steps run one after the other; steps in an inner tuple run together.

    Attributes:
        own_ms: median of the operation's own time, the steps not counted.
        failure_share: share of requests that fail in the operation itself.
        failure: exception type and message of such a request.
        says: severity and text of the log record of a request that went well; severity "" writes none.
    """

    service: str
    name: str
    protocol: Protocol
    own_ms: float
    steps: tuple[Step | tuple[Step, ...], ...] = ()
    failure_share: float = 0.0
    failure: tuple[str, str] = ("InternalError", "unexpected state")
    says: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class BadRelease:
    """The release: `slow_share` of the operation's requests take `slow_ms` longer, `failure_share` of them fail."""

    operation: str
    version: str
    slow_share: float
    slow_ms: float
    failure_share: float
    failure: tuple[str, str]


SERVICES: tuple[Service, ...] = (
    Service("frontend", "2.9.0", 2, "http", gzip=True),
    Service("recommendation", "0.14.3", 1, "grpc"),
    Service("cart", "1.12.0", 1, "grpc"),
    Service("checkout", "3.2.1", 2, "grpc", gzip=True),
    Service("payment", "1.4.1", 3, "http"),
    Service("shipping", "1.7.5", 1, "grpc"),
    Service("currency", "1.0.8", 1, "http"),
    Service("email", "0.9.4", 1, "http", delta=True),
)

_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "frontend",
        "GET /",
        "http",
        3.0,
        ((Call("recommendation.List", optional=True), Call("currency.Convert")), Work("render home", 2.0)),
    ),
    Operation(
        "frontend",
        "GET /product/{id}",
        "http",
        2.5,
        (Call("currency.Convert"), Call("recommendation.List", optional=True), Work("render product", 3.0)),
        failure_share=0.002,
        failure=("TemplateError", "product page: field 'stock' is missing"),
    ),
    Operation(
        "frontend",
        "POST /cart",
        "http",
        1.5,
        (Call("cart.AddItem"),),
        says=("DEBUG", "item put into the cart"),
    ),
    Operation(
        "frontend",
        "POST /checkout",
        "http",
        4.0,
        (Call("checkout.PlaceOrder"),),
        says=("INFO", "order page shown"),
    ),
    Operation(
        "recommendation",
        "recommendation.List",
        "rpc",
        2.0,
        (Query("redis", "recommendations", "GET recommendations:?", 0.6), Work("rank", 6.0)),
        failure_share=0.004,
        failure=("ModelNotLoaded", "ranking model is being replaced"),
    ),
    Operation(
        "cart",
        "cart.AddItem",
        "rpc",
        0.8,
        (Query("redis", "carts", "HSET cart:? ? ?", 0.5),),
        says=("DEBUG", "cart stored"),
    ),
    Operation("cart", "cart.Get", "rpc", 0.7, (Query("redis", "carts", "HGETALL cart:?", 0.5),)),
    Operation(
        "cart",
        "cart.Empty",
        "rpc",
        0.5,
        (Query("redis", "carts", "DEL cart:?", 0.4),),
        says=("DEBUG", "cart emptied"),
    ),
    Operation(
        "currency",
        "currency.Convert",
        "rpc",
        0.6,
        (),
        failure_share=0.001,
        failure=("UnknownCurrency", "no rate for XTS"),
    ),
    Operation(
        "checkout",
        "checkout.PlaceOrder",
        "rpc",
        3.0,
        (
            Call("cart.Get"),
            (Call("currency.Convert"), Call("shipping.Quote")),
            Work("validate order", 1.2),
            Call("payment.Charge"),
            Query("postgresql", "orders", "INSERT INTO orders (id, total, placed_at) VALUES ($1, $2, $3)", 3.5),
            Call("cart.Empty"),
            Publish("orders", "shipping.Dispatch", same_trace=False, delay_ms=40.0),
            Publish("mails", "email.Send", same_trace=True, delay_ms=15.0),
        ),
        says=("INFO", "order placed"),
    ),
    Operation(
        "payment",
        "payment.Charge",
        "rpc",
        4.0,
        (
            Work("check card", 1.0),
            Query("postgresql", "payments", "SELECT status FROM payments WHERE order_id = $1", 1.5),
            Work("authorize at acquirer", 45.0),
        ),
        failure_share=0.006,
        failure=("CardDeclined", "the issuer declined the card"),
        says=("INFO", "card charged"),
    ),
    Operation("shipping", "shipping.Quote", "rpc", 5.0, (Work("compare carriers", 4.0),)),
    Operation(
        "shipping",
        "shipping.Dispatch",
        "message",
        6.0,
        (Query("postgresql", "parcels", "INSERT INTO parcels (order_id, carrier) VALUES ($1, $2)", 2.5),),
        says=("INFO", "parcel handed to the carrier"),
    ),
    Operation(
        "email",
        "email.Send",
        "message",
        8.0,
        (Work("render mail", 3.0), Work("deliver by SMTP", 60.0)),
        failure_share=0.01,
        failure=("MailboxUnavailable", "550 mailbox unavailable"),
        says=("INFO", "confirmation sent"),
    ),
)

OPERATIONS: Mapping[str, Operation] = {operation.name: operation for operation in _OPERATIONS}

# How visitors divide over the entries of the shop.
ENTRIES: Mapping[str, float] = {"GET /": 40, "GET /product/{id}": 34, "POST /cart": 14, "POST /checkout": 12}

BAD_RELEASE = BadRelease(
    operation="payment.Charge",
    version="1.4.2",
    slow_share=0.6,
    slow_ms=900.0,
    failure_share=0.25,
    failure=("AcquirerTimeout", "no connection to the acquirer within 2000 ms: pool of 8 exhausted"),
)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where instances run: attributes of hosts and of the cluster."""

    environment: str = "demo"
    region: str = "eu-central-1"
    nodes: tuple[str, ...] = field(default=("node-a", "node-b", "node-c"))


PLACEMENT = Placement()
