"""Whoever begins requests and does not end them takes nobody's place: not a slot, not a thread, not memory."""

from __future__ import annotations

import select
import socket
from contextlib import ExitStack

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from schemas.signals import Signal
from tests.half_sent import (
    PREFACE,
    SETTINGS,
    SETTINGS_ACKNOWLEDGED,
    connect,
    grpc_calls,
    grpc_rest,
    http_request,
    numbers,
)
from tests.memory_log import MemoryLog
from tests.receivers_under_test import CHANNEL, Served, sample, serving

KIB = 1024
# Longer than any client here waits: nobody is helped by a body that is late at last.
NEVER_LATE = {"body_timeout_s": 600.0, "body_grace_s": 600.0, "header_timeout_s": 600.0}
ATTACKER, HONEST = "127.0.0.2", "127.0.0.1"


def _http_attack(stack: ExitStack, served: Served, connections: int, source: str, sent: bytes = b"x") -> None:
    for number in range(connections):
        attack = stack.enter_context(connect(served.receivers.http_port, source))
        attack.sendall(http_request(f"invented-{number}", sent, 60 * KIB))


def _grpc_attack(stack: ExitStack, served: Served, calls: int, source: str, **call: str) -> socket.socket:
    attack = stack.enter_context(connect(served.receivers.grpc_port, source))
    attack.sendall(PREFACE + SETTINGS + grpc_calls(numbers(calls), **call))
    return attack


def _all_are_served(served: Served) -> None:
    for seed in range(5):
        body = sample(Signal.LOGS, seed)
        assert served.post(Signal.LOGS, body, x_tenant_id=f"honest-{seed}").status == 200
        assert served.export(Signal.LOGS, body, x_tenant_id=f"honest-{seed}").status is grpc.StatusCode.OK


@pytest.mark.parametrize("source", [HONEST, ATTACKER])
@pytest.mark.parametrize("connections", [300, 600])
def test_half_sent_http_requests_under_invented_tenants_take_no_slot(source: str, connections: int) -> None:
    with serving(**NEVER_LATE) as served, ExitStack() as stack:
        _http_attack(stack, served, connections, source)
        _all_are_served(served)
        assert served.receivers.tally.admission.tenants == 0


@pytest.mark.parametrize("source", [HONEST, ATTACKER])
@pytest.mark.parametrize("calls", [40, 400])
def test_half_sent_grpc_calls_hold_no_thread_that_others_need(source: str, calls: int) -> None:
    with serving(grpc_threads=1, **NEVER_LATE) as served, ExitStack() as stack:
        _grpc_attack(stack, served, calls, source)
        _all_are_served(served)
        assert served.receivers.tally.admission.tenants == 0


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_half_sent_questions_for_health_hold_up_neither_health_nor_exports(method: str) -> None:
    with serving(**NEVER_LATE) as served, ExitStack() as stack:
        _grpc_attack(stack, served, 400, HONEST, path=f"/grpc.health.v1.Health/{method}")
        with grpc.insecure_channel(f"127.0.0.1:{served.receivers.grpc_port}", options=CHANNEL) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            watched = stub.Watch(health_pb2.HealthCheckRequest(), timeout=20)
            assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        _all_are_served(served)


def test_half_sent_bodies_stay_within_their_memory_and_the_slowest_of_the_largest_peer_gives_way() -> None:
    bounds = {"max_body_bytes": 64 * KIB, "max_arriving_bytes": 640 * KIB}
    body = sample(Signal.LOGS)
    with serving(**bounds, **NEVER_LATE) as served, ExitStack() as stack:
        honest = stack.enter_context(connect(served.receivers.http_port, HONEST))
        honest.sendall(http_request("honest", body[:1], len(body)))
        attacks = [stack.enter_context(connect(served.receivers.http_port, ATTACKER)) for _ in range(30)]
        for number, attack in enumerate(attacks):
            attack.sendall(http_request(f"invented-{number}", bytes(50 * KIB), 60 * KIB))
            _all_are_served(served) if number % 10 == 9 else None
        answers = [attack.recv(65536) for attack in select.select(attacks, [], [], 20)[0]]
        assert answers
        assert all(b" 429 " in answer and b"max_arriving_bytes" in answer for answer in answers)
        honest.sendall(body[1:])
        assert b" 200 " in honest.recv(65536)
        assert served.log.entries[-1].value == body


def test_a_body_that_drips_is_cut_and_one_that_is_slow_is_not() -> None:
    body = sample(Signal.LOGS, 3)
    with serving(min_body_bytes_per_s=200, body_grace_s=1.0) as served, ExitStack() as stack:
        drip, slow = (stack.enter_context(connect(served.receivers.http_port)) for _ in range(2))
        drip.sendall(http_request("drip", b"", 1000))
        slow.sendall(http_request("slow", b"", len(body)))
        parts = [body[at : at + 1 + len(body) // 20] for at in range(0, len(body), 1 + len(body) // 20)]
        while not select.select([drip], [], [], 0.1)[0]:
            drip.sendall(b"x")
            slow.sendall(parts.pop(0) if parts else b"")
        assert b"min_body_bytes_per_s: must bring 200 bytes a second in each 1.0 s" in drip.recv(65536)
        slow.sendall(b"".join(parts))
        assert b" 200 " in slow.recv(65536)
        refused = served.receivers.tally.of("refused")
        assert [(dict(labels)["reason"], count) for labels, count in refused.items()] == [("slow client", 1)]


def test_one_peer_at_its_bounds_takes_no_connection_and_no_call_of_another() -> None:
    body = sample(Signal.LOGS)
    with serving(max_connections_per_peer=20, max_arriving_calls=8, **NEVER_LATE) as served, ExitStack() as stack:
        http = stack.enter_context(connect(served.receivers.http_port, HONEST))
        http.sendall(http_request("honest", body[:1], len(body)))
        rpc = stack.enter_context(connect(served.receivers.grpc_port, HONEST))
        rpc.sendall(PREFACE + SETTINGS + grpc_calls(range(1, 2), sent=body[:1], length=len(body)))
        _all_are_served(served)
        _http_attack(stack, served, 100, ATTACKER)
        _grpc_attack(stack, served, 100, ATTACKER)
        _all_are_served(served)
        before = len(served.log.entries)
        http.sendall(body[1:])
        assert b" 200 " in http.recv(65536)
        rpc.sendall(grpc_rest(1, body[1:]))
        received = b""
        while b"grpc-status" not in received:
            part = rpc.recv(65536)
            assert part, received
            received += part
        assert [entry.value for entry in served.log.entries[before:]] == [body, body]


def test_one_peer_with_many_tenants_leaves_slots_to_others() -> None:
    log = MemoryLog()
    body = sample(Signal.LOGS)
    with serving(log, max_concurrent_requests=20, max_peer_share=0.5) as served, ExitStack() as stack:
        log.gate.clear()
        attacks = [stack.enter_context(connect(served.receivers.http_port, ATTACKER)) for _ in range(15)]
        for number, attack in enumerate(attacks):
            attack.sendall(http_request(f"invented-{number}", body, len(body)))
        refused = [attack.recv(65536) for attack in _first_answered(attacks, 5)]
        assert all(b" 429 " in answer and b"max_peer_share" in answer for answer in refused)
        honest = stack.enter_context(connect(served.receivers.http_port, HONEST))
        honest.sendall(http_request("honest", body, len(body)))
        while served.receivers.tally.admission.requests < 11:
            assert not select.select([honest], [], [], 0.01)[0]
        log.gate.set()
        assert b" 200 " in honest.recv(65536)


def _first_answered(connections: list[socket.socket], count: int) -> list[socket.socket]:
    answered: list[socket.socket] = []
    while len(answered) < count:
        more = select.select([each for each in connections if each not in answered], [], [], 20)[0]
        assert more, f"{len(answered)} of {len(connections)} were answered"
        answered += more
    return answered


def _goes_on(connection: socket.socket) -> bool:
    try:
        return bool(connection.recv(65536))
    except ConnectionResetError:
        return False


SILENT = {
    "nothing": (b"", "header_timeout_s"),
    "settings": (PREFACE + SETTINGS, "header_timeout_s"),
    "all but a call": (PREFACE + SETTINGS + SETTINGS_ACKNOWLEDGED, "idle_timeout_s"),
}


@pytest.mark.parametrize("said", SILENT)
def test_a_silent_grpc_connection_is_closed_after_its_time(said: str) -> None:
    data, bound = SILENT[said]
    with serving(**{"header_timeout_s": 600, "idle_timeout_s": 600, bound: 1.0}) as served:
        with connect(served.receivers.grpc_port) as silent:
            silent.sendall(data)
            while silent.recv(65536):
                pass
        _all_are_served(served)


def test_a_grpc_connection_is_closed_at_its_age_though_it_is_busy() -> None:
    # Our client acknowledges no settings: the bound on a handshake would close it too.
    with serving(grpc_max_age_s=1.0, body_timeout_s=1.0, append_timeout_s=1.0, header_timeout_s=600) as served:
        with connect(served.receivers.grpc_port) as busy:
            busy.sendall(PREFACE + SETTINGS + grpc_calls(range(1, 2), "/grpc.health.v1.Health/Watch", b"", 0))
            while busy.recv(65536):
                pass
        _all_are_served(served)


def test_grpc_connections_over_the_bound_are_closed_and_the_others_go_on() -> None:
    with (
        serving(grpc_max_connections=8, header_timeout_s=600) as served,
        grpc.insecure_channel(f"127.0.0.1:{served.receivers.grpc_port}", options=CHANNEL) as channel,
        ExitStack() as stack,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
        silent = [stack.enter_context(connect(served.receivers.grpc_port)) for _ in range(100)]
        while len(silent) > 7:
            readable = select.select(silent, [], [], 20)[0]
            assert readable, f"{len(silent)} are open"
            # The server's settings come first on one that it keeps.
            silent = [each for each in silent if each not in readable or _goes_on(each)]
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
