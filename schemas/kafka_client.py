"""How clients of kafka-python are made: what could not connect leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kafka.net.compat import KafkaNetClient

Client = TypeVar("Client")


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
