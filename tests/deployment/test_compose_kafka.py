"""The broker of compose.yaml, run as its container runs it: a stranger gets nothing, each of ours what it needs."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    NewTopic,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.errors import AuthorizationError, ClusterAuthorizationFailedError, KafkaError, TopicAuthorizationFailedError

from ingest.kafka_log import KafkaLogWriter
from ingest.kafka_topics import prepare
from ingest.wire_schema import REQUESTS
from schemas import kafka_log
from schemas.errors import LogUnavailableError
from schemas.kafka_log import connection_options
from schemas.log import Entry
from schemas.settings import MIB
from schemas.signals import NAMES, Signal, topic
from tests.deployment.conftest import Model
from tests.deployment.images import ROOT
from tests.deployment.kafka_of_compose import KafkaOfCompose
from tests.kafka_broker import fresh_name, require_broker
from tests.otel_collector import require_collector
from tests.otlp_export import Exporting
from tests.otlp_requests import items
from tests.settled_requests import settled
from tests.testbed.collector import Collector
from tests.testbed.parts import free_ports

USERS = ("ingest", "process", "collector")
SPANS = NAMES[Signal.TRACES].topic
LETTERS = kafka_log.dead_letter_topic(SPANS)
GROUP = kafka_log.consumer_group("sluiceway", SPANS)
# Foreign to all of ours.
FOREIGN, FOREIGN_GROUP = "payments", "payments"
# The protocol lets these in before anybody has logged in.
API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
ANSWER_TIMEOUT_S = 20


@pytest.fixture(scope="module")
def broker(services: dict[str, Model], tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaOfCompose]:
    require_broker()
    with KafkaOfCompose(tmp_path_factory.mktemp("compose"), services) as running:
        running.give_rights()
        prepare(running.settings("ingest"), MIB)
        with closing(admin(running, "admin")) as by_hand:
            by_hand.create_topics({FOREIGN: {"num_partitions": 1}}, wait_for_metadata=True)
        for name in (SPANS, LETTERS, FOREIGN):
            _write(name)(running, "admin")
        yield running


def login(broker: KafkaOfCompose, user: str) -> dict[str, Any]:
    return {**connection_options(broker.settings(user)), "request_timeout_ms": 10_000}


def admin(broker: KafkaOfCompose, user: str) -> KafkaAdminClient:
    return KafkaAdminClient(**login(broker, user))


def test_the_brokers_image_makes_a_valid_configuration_of_our_variables(broker: KafkaOfCompose) -> None:
    written = broker.properties

    assert (broker.folder / "data" / "meta.properties").exists()
    assert written["auto.create.topics.enable"] == "false"
    assert {each.partition(":")[2] for each in written["listener.security.protocol.map"].split(",")} == {
        "SASL_PLAINTEXT"
    }
    assert written["super.users"] == "User:broker;User:admin"
    assert not [name for name in written if "heap" in name]
    # The controller is for this container alone.
    assert "CONTROLLER://127.0.0.1:" in written["listeners"]


def test_the_health_check_is_content_and_what_it_logs_in_with_is_for_the_owner_only(broker: KafkaOfCompose) -> None:
    file = broker.folder / "tmp" / "health.properties"

    assert broker.check_health() == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert 'username="health"' in file.read_text()


def test_no_password_is_printed(broker: KafkaOfCompose) -> None:
    printed = (broker.folder / "kafka.log").read_text()

    assert "Kafka Server started" in printed
    for secret in broker.secrets.iterdir():
        assert secret.read_text().strip() not in printed
    for listener in ("inside", "outside", "controller"):
        own = broker.properties[f"listener.name.{listener}.plain.sasl.jaas.config"]
        assert own not in printed


def _answered(address: str, api: int) -> bytes:
    """What the broker sends to a request of this kind without a login; b'' for a closed connection."""
    host, port = address.split(":")
    # Header version 1: api, version, correlation id, client id; no body, which nobody who is refused gets to parse.
    header = struct.pack(">hhih", api, 0, 7, -1)
    with socket.create_connection((host, int(port)), timeout=ANSWER_TIMEOUT_S) as connection:
        connection.sendall(struct.pack(">i", len(header)) + header)
        try:
            return connection.recv(4096)
        except ConnectionResetError:
            return b""


@pytest.mark.parametrize("listener", ["bootstrap", "published", "controller"])
def test_whoever_has_not_logged_in_is_answered_nothing(broker: KafkaOfCompose, listener: str) -> None:
    address: str = getattr(broker, listener)
    answered = {api for api in range(100) if api != SASL_AUTHENTICATE and _answered(address, api)}

    # Which versions there are, and that is all: a handshake without a body is refused.
    assert answered - {SASL_HANDSHAKE} == {API_VERSIONS}


@pytest.mark.parametrize("listener", ["bootstrap", "published"])
@pytest.mark.parametrize("who", ["nobody", "a wrong password", "an unknown user", "an empty password"])
def test_a_stranger_is_refused(broker: KafkaOfCompose, listener: str, who: str) -> None:
    options = {**login(broker, "ingest"), "bootstrap_servers": [getattr(broker, listener)]}
    if who == "nobody":
        options["security_protocol"] = "PLAINTEXT"
    elif who == "an unknown user":
        options["sasl_plain_username"] = "anonymous"
    else:
        options["sasl_plain_password"] = "" if who == "an empty password" else "wrong"

    with pytest.raises((KafkaError, ValueError, AssertionError)):
        KafkaAdminClient(**options, bootstrap_timeout_ms=3000).close()


def test_the_published_listener_lets_the_same_users_in(broker: KafkaOfCompose) -> None:
    client = KafkaAdminClient(**{**login(broker, "process"), "bootstrap_servers": [broker.published]})
    try:
        assert SPANS in client.list_topics()
    finally:
        client.close()


def _make(topic_name: str) -> Callable[[KafkaOfCompose, str], None]:
    def attempt(broker: KafkaOfCompose, user: str) -> None:
        with closing(admin(broker, user)) as client:
            client.create_topics([NewTopic(topic_name.format(fresh_name("t")), 1, 1)])

    return attempt


def _delete(broker: KafkaOfCompose, user: str) -> None:
    with closing(admin(broker, "admin")) as by_hand, closing(admin(broker, user)) as client:
        name = fresh_name("otlp_doomed")
        by_hand.create_topics({name: {"num_partitions": 1}}, wait_for_metadata=True)
        client.delete_topics([name])


def _change(broker: KafkaOfCompose, user: str) -> None:
    with closing(admin(broker, user)) as client:
        changed = ConfigResource("TOPIC", SPANS, {"retention.ms": "86400000"})
        answer = client.alter_configs([changed], raise_on_unknown=False)["topic"][SPANS]
    if answer != "OK":
        raise TopicAuthorizationFailedError(answer)


def _write(topic_name: str) -> Callable[[KafkaOfCompose, str], None]:
    def attempt(broker: KafkaOfCompose, user: str) -> None:
        with closing(KafkaProducer(**login(broker, user), acks="all", max_block_ms=10_000)) as producer:
            producer.send(topic_name, b"", key=b"k").get(timeout=ANSWER_TIMEOUT_S)

    return attempt


def _read(topic_name: str) -> Callable[[KafkaOfCompose, str], None]:
    def attempt(broker: KafkaOfCompose, user: str) -> None:
        consumer = KafkaConsumer(**login(broker, user), auto_offset_reset="earliest", group_id=None)
        with closing(consumer):
            partition = TopicPartition(topic_name, 0)
            consumer.assign([partition])
            consumer.seek(partition, 0)
            # A consumer keeps to itself what it was refused.
            if not consumer.poll(timeout_ms=5000):
                raise TopicAuthorizationFailedError("nothing was read")

    return attempt


def _join(group: str) -> Callable[[KafkaOfCompose, str], None]:
    def attempt(broker: KafkaOfCompose, user: str) -> None:
        consumer = KafkaConsumer(**login(broker, user), group_id=group)
        with closing(consumer):
            consumer.subscribe([SPANS])
            consumer.poll(timeout_ms=5000)

    return attempt


def _grant(broker: KafkaOfCompose, user: str) -> None:
    everything = ResourcePattern(ResourceType.TOPIC, "*")
    rule = ACL(f"User:{user}", "*", ACLOperation.ALL, ACLPermissionType.ALLOW, everything)
    with closing(admin(broker, user)) as client:
        answer = client.create_acls([rule])
        if answer["failed"]:
            raise ClusterAuthorizationFailedError(str(answer["failed"]))
        client.delete_acls([rule])


ATTEMPTS: dict[str, Callable[[KafkaOfCompose, str], None]] = {
    "make a topic of ours": _make("otlp_{}"),
    "make a foreign topic": _make("{}"),
    "delete a topic": _delete,
    "change a topic": _change,
    "write spans": _write(SPANS),
    "write a dead letter": _write(LETTERS),
    "write a foreign topic": _write(FOREIGN),
    "read spans": _read(SPANS),
    "read dead letters": _read(LETTERS),
    "read a foreign topic": _read(FOREIGN),
    "join our group": _join(GROUP),
    "join a foreign group": _join(FOREIGN_GROUP),
    "give itself a right": _grant,
}
MAY = {
    "ingest": {"make a topic of ours", "write spans", "write a dead letter"},
    # Its own telemetry is spans and metrics like everybody else's.
    "process": {"write spans", "write a dead letter", "read spans", "read dead letters", "join our group"},
    "collector": {"write spans"},
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_every_attempt_succeeds_for_who_may_do_everything(broker: KafkaOfCompose, attempt: str) -> None:
    """Refusals of the others are then refusals of a right, and no mistake of the attempt."""
    ATTEMPTS[attempt](broker, "admin")


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_each_of_ours_may_do_what_it_needs_and_no_more(broker: KafkaOfCompose, user: str, attempt: str) -> None:
    if attempt in MAY[user]:
        ATTEMPTS[attempt](broker, user)
    else:
        with pytest.raises(AuthorizationError):
            ATTEMPTS[attempt](broker, user)


def test_the_broker_has_the_rights_of_the_file_for_the_users_of_the_file_only(broker: KafkaOfCompose) -> None:
    everything = ACLFilter(
        None, None, ACLOperation.ANY, ACLPermissionType.ANY,
        ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
    )  # fmt: skip
    with closing(admin(broker, "admin")) as client:
        rules, _ = client.describe_acls(everything)
        broker.give_rights()
        again, _ = client.describe_acls(everything)

    assert {rule.principal for rule in rules} == {f"User:{user}" for user in USERS}
    assert {rule.permission_type for rule in rules} == {ACLPermissionType.ALLOW}
    assert not {rule.operation for rule in rules} & {ACLOperation.ALL, ACLOperation.ALTER, ACLOperation.DELETE}
    assert not [rule for rule in rules if rule.resource_pattern.resource_name == "*"]
    assert len(again) == len(rules)


def test_our_log_is_written_by_ingest_only(broker: KafkaOfCompose, tmp_path: Path) -> None:
    writer = KafkaLogWriter(broker.settings("ingest"), MIB)
    try:
        writer.append([Entry(topic(Signal.TRACES), b"")])
    finally:
        writer.close()
    wrong = tmp_path / "password"
    wrong.write_text("wrong")
    stranger = KafkaLogWriter(broker.settings("ingest", sasl_password_file=wrong, delivery_timeout_s=3.0), MIB)
    try:
        with pytest.raises(LogUnavailableError):
            stranger.append([Entry(topic(Signal.TRACES), b"")])
    finally:
        stranger.close()


def test_the_gateway_of_the_file_writes_with_the_password_of_its_secret(
    broker: KafkaOfCompose, services: dict[str, Model], tmp_path: Path
) -> None:
    """The Collector reads a variable that names a file: its own resolution, which only a Collector can show."""
    require_collector()
    grpc_port, http_port, metrics_port = free_ports(3)
    password = services["collector"]["environment"]["KAFKA_SASL_PASSWORD"].replace("$$", "$")
    assert password == "${file:/run/secrets/kafka_collector}"
    text = (ROOT / "compose" / "otelcol.yaml").read_text()
    file = tmp_path / "otelcol.yaml"
    file.write_text(text.replace("kafka:9092", broker.bootstrap).replace("/var/lib/otelcol", str(tmp_path)))
    environment = {
        "OTLP_GRPC_LISTEN": f"127.0.0.1:{grpc_port}", "OTLP_HTTP_LISTEN": f"127.0.0.1:{http_port}",
        "COLLECTOR_METRICS_PORT": str(metrics_port),
        "KAFKA_SASL_PASSWORD": password.replace("/run/secrets", str(broker.secrets)),
    }  # fmt: skip
    request = settled(3, Signal.TRACES)
    sent = [span.name for span in items(request)]
    with Collector(tmp_path / "collector", file, environment), Exporting(f"127.0.0.1:{grpc_port}") as exporting:
        exporting.export(Signal.TRACES, request.SerializeToString())

        consumer = KafkaConsumer(**login(broker, "process"), auto_offset_reset="earliest", group_id=None)
        with closing(consumer):
            partition = TopicPartition(SPANS, 0)
            consumer.assign([partition])
            consumer.seek_to_beginning(partition)
            read: list[list[str]] = []
            deadline_s = time.monotonic() + 60
            while sent not in read and time.monotonic() < deadline_s:
                values = [each.value for found in consumer.poll(timeout_ms=500).values() for each in found]
                read += [[span.name for span in items(REQUESTS[Signal.TRACES].FromString(each))] for each in values]

    assert sent
    assert sent in read
