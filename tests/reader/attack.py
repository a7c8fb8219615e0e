"""One hostile request to the store's HTTP port, and how its answer is judged."""

from __future__ import annotations

import base64
import http.client
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlencode

# An attack that takes longer counts as a hang. Longer than any statement here needs, shorter than any limit of a query.
HANG_S = 5.0


class Must(Enum):
    """What the answer must be."""

    BE_REFUSED = "be refused"
    # Refused or answered, as the engine likes: no secret is in the answer and nothing has changed.
    BE_HARMLESS = "be harmless"


@dataclass(frozen=True)
class Attack:
    """A request to the reader's port: no user named, unless the attack is about that."""

    statement: str
    must: Must = Must.BE_REFUSED
    parameters: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = "/"
    method: str = "POST"

    @property
    def target(self) -> str:
        return f"{self.path}?{urlencode(self.parameters)}" if self.parameters else self.path

    def __str__(self) -> str:
        headers = "".join(f" [{name}: {value}]" for name, value in self.headers.items())
        return f"{self.method} {self.target}{headers} {self.statement!r}"


class Attacker:
    """Sends attacks one after the other over a connection that is opened again when the server closes it."""

    def __init__(self, port: int, secrets: Iterable[str]) -> None:
        """`secrets` are texts that no answer may hold, unless the attack itself holds them."""
        self._port = port
        self._secrets = tuple(secrets)
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def send(self, attack: Attack) -> tuple[int, bytes]:
        """Status and body; (0, b"") where the server closed the connection without an answer.

        Raises:
            TimeoutError: it took longer than HANG_S.
        """
        for kept_alive in (self._connection is not None, False):
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=HANG_S)
            try:
                body = attack.statement.encode("utf-8", "surrogateescape")
                self._connection.request(
                    attack.method, attack.target, body=body, headers={"Accept-Encoding": "identity", **attack.headers}
                )
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except TimeoutError:
                self.close()
                raise
            except (OSError, http.client.HTTPException):
                self.close()
                # A connection that was kept may have been closed before this request; a fresh one was closed for it.
                if not kept_alive:
                    break
        return 0, b""

    def complaint(self, attack: Attack) -> str | None:
        """What is wrong with the answer to an attack, None where it is as it must be."""
        try:
            status, body = self.send(attack)
        except TimeoutError:
            return f"hung for {HANG_S:g} s: {attack}"
        # ClickHouse sends its head before a query ends; an error that comes later stands in the body.
        failed = status >= 400 or status == 0 or b"DB::Exception" in body
        if attack.must is Must.BE_REFUSED and not failed:
            return f"answered {status} {body[:80]!r}: {attack}"
        if leaked := self.leaked(str(attack), body):
            return f"told {leaked!r}: {attack}"
        return None

    def leaked(self, asked: str, body: bytes) -> str | None:
        """The first secret that the answer holds and the question does not."""
        for secret in self._secrets:
            if secret.encode() in body and secret not in asked:
                return secret
        return None

    def complaints(self, attacks: Iterable[Attack]) -> list[str]:
        """Of all attacks, in order."""
        try:
            return [complaint for attack in attacks if (complaint := self.complaint(attack)) is not None]
        finally:
            self.close()


def raw_answer(port: int, request: bytes) -> bytes:
    """Bytes in, bytes out, until the server closes or is silent; for requests that no HTTP library would send.

    Raises:
        TimeoutError: nothing at all came within HANG_S.
    """
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=HANG_S) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        try:
            while chunk := connection.recv(1 << 16):
                answer += chunk
        except ConnectionError:
            pass
        except TimeoutError:
            if not answer:
                raise
    return answer


def basic(user: str, password: str = "") -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
