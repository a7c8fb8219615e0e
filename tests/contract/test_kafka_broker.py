"""The broker that other tests rely on is a real one: it keeps what it acknowledged, over kills, and comes back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaTimeoutError

from tests.kafka_broker import create_topic, fresh_name, require_broker
from tests.real_parts import skip_where_missing
from tests.testbed.kafka_broker import Broker, Cluster
from tests.testbed.parts import MissingPartError, PartFailedError, cached

TIMEOUT_S = 60
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def _producer(bootstrap: str) -> Iterator[KafkaProducer]:
    producer = KafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, compression_type="lz4",
        max_request_size=16 << 20, delivery_timeout_ms=TIMEOUT_S * 1000,
    )  # fmt: skip
    try:
        yield producer
    finally:
        producer.close()


def _produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    with _producer(bootstrap) as producer:
        for sent in [producer.send(topic, value) for value in values]:
            sent.get(TIMEOUT_S)


def _read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        consumer.assign([TopicPartition(topic, 0)])
        values: list[bytes] = []
        deadline_s = time.monotonic() + TIMEOUT_S
        while len(values) < count and time.monotonic() < deadline_s:
            for records in consumer.poll(timeout_ms=500).values():
                values += [record.value for record in records]
        return values
    finally:
        consumer.close()


def test_what_is_produced_is_consumed_large_records_included(kafka: Broker) -> None:
    topic = create_topic(kafka.bootstrap, fresh_name("echo"), max_message_bytes=str(8 << 20))
    values = [b"small", os.urandom(4 << 20), b""]

    _produce(kafka.bootstrap, topic, values)

    assert _read(kafka.bootstrap, topic, 3) == values


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that may be killed and frozen."""
    require_broker()
    with Broker(tmp_path_factory.mktemp("own")) as running:
        yield running


def test_an_acknowledged_record_survives_a_kill_and_the_port_stays(own: Broker) -> None:
    topic = create_topic(own.bootstrap, "kept")
    address, first = own.bootstrap, own.pid
    _produce(address, topic, [b"before"])

    own.kill()
    assert not own.running
    own.start()
    _produce(address, topic, [b"after"])

    assert own.pid != first
    assert _read(address, topic, 2) == [b"before", b"after"]


def test_a_frozen_broker_answers_nothing_and_everything_once_thawed(own: Broker) -> None:
    topic = create_topic(own.bootstrap, "frozen")
    with _producer(own.bootstrap) as producer:
        producer.send(topic, b"warm").get(TIMEOUT_S)
        own.freeze()
        waiting = producer.send(topic, b"waits")
        with pytest.raises(KafkaTimeoutError):
            waiting.get(1)

        own.thaw()
        waiting.get(TIMEOUT_S)

    assert _read(own.bootstrap, topic, 2) == [b"warm", b"waits"]


def test_a_cluster_of_three_acknowledges_with_one_node_killed(tmp_path: Path) -> None:
    require_broker()
    with Cluster(tmp_path / "cluster") as cluster:
        topic = create_topic(cluster.bootstrap, "replicated")
        _produce(cluster.bootstrap, topic, [b"three"])

        cluster.brokers[0].kill()
        _produce(cluster.bootstrap, topic, [b"two"])

        assert _read(cluster.bootstrap, topic, 2) == [b"three", b"two"]


def test_a_part_dies_with_the_process_that_started_it_not_with_the_thread(tmp_path: Path) -> None:
    program = f"""
import threading, time
from pathlib import Path
from tests.testbed.parts import Part
part = Part("sleep", Path({str(tmp_path)!r}))
starter = threading.Thread(target=part.spawn, args=(["sleep", "600"],))
starter.start()
starter.join()
time.sleep(0.5)
print(part.pid, part.running, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    )
    try:
        assert parent.stdout is not None
        pid, running = parent.stdout.readline().split()
        assert running == b"True"
    finally:
        parent.kill()
        parent.communicate()
    deadline_s = time.monotonic() + TIMEOUT_S
    while _alive(int(pid)) and time.monotonic() < deadline_s:
        time.sleep(0.05)

    assert not _alive(int(pid))


def _alive(pid: int) -> bool:
    try:
        # A zombie that nobody has reaped yet is dead.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    require_broker()

    with (
        pytest.raises(PartFailedError, match=r"min\.insync\.replicas"),
        Broker(tmp_path / "kafka", {"min.insync.replicas": "none"}),
    ):
        pass


def test_a_missing_part_skips_on_a_desk_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="install it"), skip_where_missing():
        raise MissingPartError("install it")

    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="install it"), skip_where_missing():
        raise MissingPartError("install it")


def test_a_part_that_could_not_be_made_leaves_nothing_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def half(folder: Path) -> None:
        (folder / "half").touch()
        raise PartFailedError("no network")

    with pytest.raises(PartFailedError):
        cached("part", b"recipe", half)
    whole = cached("part", b"recipe", lambda folder: (folder / "whole").touch())

    assert [path.name for path in whole.iterdir()] == ["whole"]
    assert sorted(path.suffix for path in whole.parent.iterdir()) == ["", ".lock"]
