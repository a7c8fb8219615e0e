"""The real broker as tests ask for it: skipped with a reason where it cannot be had, never in CI.

`kafka` of conftest.py is one shared broker. A test that kills, freezes or configures one makes its own:

    def test_it(tmp_path):
        require_broker()
        with Broker(tmp_path / "kafka", {"message.max.bytes": "1048576"}) as broker: ...
"""

from __future__ import annotations

import uuid

from kafka import KafkaAdminClient

from tests.real_parts import skip_where_missing
from tests.testbed import kafka_broker
from tests.testbed.kafka_broker import Broker, Cluster

__all__ = ["Broker", "Cluster", "create_topic", "fresh_name", "require_broker"]


def require_broker() -> None:
    """Skip the test where Java or Maven are missing; fail it in CI."""
    with skip_where_missing():
        kafka_broker.java()
        kafka_broker.jars()


def fresh_name(prefix: str) -> str:
    """A name of a topic or group that no other test uses: the broker is shared."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def create_topic(bootstrap: str, name: str, partitions: int = 1, **configs: str) -> str:
    """Create a topic and wait for its leaders; the name. Configurations have `_` for `.`: `max_message_bytes`."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        named = {key.replace("_", "."): value for key, value in configs.items()}
        admin.create_topics({name: {"num_partitions": partitions, "configs": named}}, wait_for_metadata=True)
    finally:
        admin.close()
    return name
