"""How clients of kafka-python are made and ended: what could not connect, or send all, leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError
from kafka.net.compat import KafkaNetClient

Client = TypeVar("Client")

# A look at a node that cannot be sent to yet; what happens on its connection ends the wait at once.
_NOT_READY_MS = 100.0


def opened(client: Callable[..., Client], **options: Any) -> Client:
    """`client(**options)` for an admin client or a consumer; raises what it raises.

    Both start a thread and open three descriptors before they look for a broker, and keep them when none answers:
    in an outage of some hours, with a try every few seconds, a process had no descriptors left.
    """
    made: list[KafkaNetClient] = []

    def net_client(**config: Any) -> KafkaNetClient:
        made.append(KafkaNetClient(**config))
        return made[-1]

    try:
        return client(**options, kafka_client=net_client)
    except BaseException:
        for each in made:
            each.close()
        raise


class _ProducerNetClient(KafkaNetClient):  # type: ignore[misc]  # has no types
    """Tells a producer how long to wait for a node that is connecting, or does not answer.

    The client's own answer is in seconds, where the producer takes milliseconds, and nothing while a connection is
    under way: with a broker that was frozen for a minute, a producer that held records took a whole CPU for it.
    """

    def connection_delay(self, node_id: object) -> float:
        """Milliseconds."""
        return max(_NOT_READY_MS, 1000.0 * float(super().connection_delay(node_id)))


def opened_producer(**options: Any) -> KafkaProducer:
    """`KafkaProducer(**options)`; raises what it raises."""
    return KafkaProducer(**options, kafka_client=_ProducerNetClient)


def close_producer(producer: KafkaProducer, timeout_s: float) -> None:
    """Wait `timeout_s` for what it was given, then end it: nothing that is left then is sent later.

    Its own `close` raises where something is left, and goes on: the thread, its connections and its attempts stay.
    """
    try:
        producer.close(timeout=timeout_s)
    except KafkaTimeoutError:
        producer._sender.force_close()
        producer._closed = True
