"""The message of a gRPC call while it is on its way: how long it may take, and how many may be.

grpcio shows a message when it is whole. How much of it has come is not known here, so no rate can be held.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from urllib.parse import unquote

import grpc

from ingest.arriving import Arriving
from schemas.connections import peer_of
from schemas.errors import MalformedRequestError, OverloadedError, RetryableError


class GrpcBodies:
    """Cancels calls whose message does not arrive in time, or that are too many. `start` and `stop` are called once."""

    def __init__(self, max_calls: int, timeout_s: float) -> None:
        self._max_calls = max_calls
        self._timeout_s = timeout_s
        self._arriving = Arriving(max_bodies=max_calls)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest-grpc-deadlines", daemon=True)

    def start(self) -> None:
        """Begin to look for calls that are late, once a second."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    def read(
        self,
        requests: Iterator[bytes],
        context: grpc.ServicerContext,
        peer: str,
        on_cut: Callable[[RetryableError], None] = lambda _: None,
    ) -> bytes:
        """The one message of a call. Blocks until it is there.

        `on_cut` hears why we cancelled a call, which its client is told as CANCELLED.

        Raises:
            grpc.RpcError: the call was cancelled, by us, by the client or by the core.
            MalformedRequestError: the client sent no message.
        """
        body = self._arriving.begin(peer, context.cancel)
        try:
            return next(requests)
        except StopIteration:
            raise MalformedRequestError("request: must be exactly one message; got none") from None
        except grpc.RpcError:
            if body.was_cut:
                on_cut(self._reason(late=body.is_late))
            raise
        finally:
            body.end()

    def _reason(self, *, late: bool) -> RetryableError:
        if late:
            return RetryableError(f"body_timeout_s: must arrive within {self._timeout_s} s")
        return OverloadedError(f"max_arriving_calls: at most {self._max_calls} calls whose message is on its way")

    def _run(self) -> None:
        while not self._stopping.wait(min(1.0, self._timeout_s / 4)):
            self._arriving.cut_late(self._timeout_s)


def peer_of_call(peer: str) -> str:
    """Whom bounds hold for, of what grpcio calls a peer: `ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000`, `unix:`."""
    kind, _, rest = peer.partition(":")
    host = rest.rpartition(":")[0]
    if kind == "ipv4":
        return peer_of(host)
    return peer_of(unquote(host).strip("[]")) if kind == "ipv6" else kind
