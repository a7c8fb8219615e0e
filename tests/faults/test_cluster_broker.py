"""Brokers that are killed, frozen, or lose a leader: what was acknowledged is stored once, all goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from schemas.signals import Signal
from tests.faults.cluster import Deployment, Recoveries, deployment
from tests.faults.conftest import Engines
from tests.faults.proof import wait_until
from tests.kafka_broker import require_broker
from tests.remote_store import RemoteStore
from tests.testbed.kafka_broker import Broker, Cluster

# A start compiles the decoder where nobody has, and machines are busy.
pytestmark = pytest.mark.timeout(900)


def break_broker(folder: Path, engines: Engines, faults: Sequence[tuple[str, float]]) -> None:
    """`faults` are kinds, `kill` or `freeze`, and for how many seconds."""
    broker = engines.broker
    recoveries: dict[str, Recoveries] = {}
    with deployment(folder / "sluiceway", broker.bootstrap, engines.store) as running:
        running.start()
        running.load()
        running.recovered()
        for kind, away_s in faults:
            (broker.kill if kind == "kill" else broker.freeze)()
            time.sleep(away_s)
            # Nobody dies of it: there is nothing to start again but the broker.
            assert all(member.running for member in running.members)
            (broker.start if kind == "kill" else broker.thaw)()
            recoveries.setdefault(f"{kind} for {away_s} s", Recoveries()).append(running.recovered())
        proof = running.prove()
    print(f"\nitems: {proof}; from the broker's return:")
    for name, measured in recoveries.items():
        print(f"    {name}, {len(measured)} times: {measured}")
    assert proof.wrong == []
    assert proof.acked > 0


@pytest.mark.slow
def test_a_broker_that_is_killed_or_frozen_and_comes_back_loses_and_doubles_nothing(
    engines: Engines, tmp_path: Path
) -> None:
    break_broker(tmp_path, engines, [("kill", 2), ("freeze", 8)])


@pytest.mark.long
@pytest.mark.timeout(0)
def test_a_broker_killed_twenty_times_loses_and_doubles_nothing(engines: Engines, tmp_path: Path) -> None:
    break_broker(tmp_path, engines, [("kill", 5)] * 20)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_a_broker_frozen_for_a_minute_loses_and_doubles_nothing(engines: Engines, tmp_path: Path) -> None:
    break_broker(tmp_path, engines, [("freeze", 60)] * 2)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_a_cluster_whose_leaders_are_killed_one_after_the_other_loses_and_doubles_nothing(tmp_path: Path) -> None:
    require_broker()
    recoveries = Recoveries()
    replicated = {"replication_factor": 3, "min_insync_replicas": 2}
    with (
        Cluster(tmp_path / "kafka") as cluster,
        RemoteStore(tmp_path / "store") as store,
        deployment(tmp_path / "sluiceway", cluster.bootstrap, store, kafka=replicated) as running,
    ):
        running.start()
        running.load()
        running.recovered()
        for number in range(6):
            broker = cluster.brokers[number % 3]
            broker.kill()
            recoveries.append(running.recovered())
            broker.start()
            wait_until(lambda: in_sync(running), "all replicas in sync")
        proof = running.prove()
    print(f"\na node of three killed 6 times; items: {proof}; from the kill: {recoveries}")
    assert proof.wrong == []
    assert proof.acked > 0


def in_sync(running: Deployment) -> bool:
    """Whether every partition has all its replicas: until then the next kill would take the last but one."""
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=list(running.kafka.bootstrap_servers))
    try:
        topics = admin.describe_topics([*(running.kafka.topic(kind) for kind in Signal), "__consumer_offsets"])
    finally:
        admin.close()
    return all(len(each["isr_nodes"]) == 3 for topic in topics for each in topic["partitions"])


@pytest.mark.long
@pytest.mark.timeout(0)
def test_a_broker_whose_bound_on_metadata_is_too_low_holds_rows_up_and_loses_none(tmp_path: Path) -> None:
    require_broker()
    with (
        Broker(tmp_path / "kafka", {"offset.metadata.max.bytes": "16"}) as broker,
        RemoteStore(tmp_path / "store") as store,
        deployment(tmp_path / "sluiceway", broker.bootstrap, store, processors=1) as running,
    ):
        running.start()
        running.load()
        running.await_acks()
        [processor] = running.processors
        wait_until(lambda: "offset.metadata.max.bytes" in processor.said, "the processor to say what is wrong")
        wait_until(lambda: "offset.metadata.max.bytes" in processor.get("/readyz")[1], "the same on /readyz")
        # An operator mends it.
        broker.stop()
        written = tmp_path / "kafka" / "server.properties"
        written.write_text(written.read_text().replace("metadata.max.bytes=16", "metadata.max.bytes=4096"))
        broker.start()
        running.recovered()
        proof = running.prove()
    print(f"\nmetadata refused until the broker was mended; items: {proof}")
    assert proof.wrong == []
    assert proof.acked > 0


@pytest.mark.long
@pytest.mark.timeout(0)
def test_members_asked_to_stop_while_the_broker_is_frozen_end_in_order(engines: Engines, tmp_path: Path) -> None:
    with deployment(tmp_path / "sluiceway", engines.broker.bootstrap, engines.store, processors=1) as running:
        running.start()
        running.load()
        running.recovered()
        engines.broker.freeze()
        try:
            time.sleep(1)
            codes = [member.stop() for member in running.members]
        finally:
            engines.broker.thaw()
        running.start()
        recovery = Recoveries([running.recovered()])
        proof = running.prove()
    print(f"\nasked to stop while the broker was frozen: exit codes {codes}; items: {proof}; started again: {recovery}")
    assert codes == [0, 0]
    assert proof.wrong == []
