"""The body of an HTTP request while it is on its way: bounded in bytes, in time, in rate, and together with others."""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.types import Receive

from ingest.arriving import Arriving, Body
from ingest.settings import IngestSettings
from schemas.errors import OverloadedError, RetryableError, TooLargeError


class CutError(RetryableError):
    """A body did not come as it must; what else of it comes is not waited for."""


class CutForOthersError(CutError, OverloadedError):
    """A body gave way to others."""


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


class HttpBodies:
    """Reads the bodies of one receiver, on its event loop."""

    def __init__(self, settings: IngestSettings) -> None:
        self._settings = settings
        self._arriving = Arriving(max_bytes=settings.max_arriving_bytes)

    async def read(self, receive: Receive, peer: str) -> bytes:
        """The body as it travels, bounded while it arrives.

        Raises:
            ClientGoneError: the connection is closed.
            CutError: it came too late or too slowly, or gave way to others.
            TooLargeError: it is over `max_body_bytes`.
        """
        loop, settings = asyncio.get_running_loop(), self._settings
        last_at = loop.time() + settings.body_timeout_s
        rate, grace_s = settings.min_body_bytes_per_s, settings.body_grace_s
        parts: list[bytes] = []
        size_bytes = 0
        arriving: Body | None = None
        try:
            async with asyncio.timeout_at(min(last_at, loop.time() + grace_s) if rate else last_at) as limit:
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise ClientGoneError
                    part = message["body"]
                    size_bytes += len(part)
                    if size_bytes > settings.max_body_bytes:
                        raise self.too_large()
                    parts.append(part)
                    if not message["more_body"]:
                        break
                    if arriving is None:
                        arriving = self._arriving.begin(peer, partial(_expire, limit, loop))
                    arriving.grow(len(part))
                    if arriving.was_cut:
                        raise TimeoutError
                    if rate and not limit.expired():
                        due_at = (limit.when() or last_at) + len(part) / rate
                        limit.reschedule(min(last_at, loop.time() + grace_s, due_at))
        except TimeoutError as error:
            raise self._cut_short(
                arriving is not None and arriving.was_cut, loop.time() >= last_at, size_bytes
            ) from error
        finally:
            if arriving is not None:
                arriving.end()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _cut_short(self, for_others: bool, late: bool, size_bytes: int) -> CutError:
        settings = self._settings
        if for_others:
            return CutForOthersError(
                f"max_arriving_bytes: at most {settings.max_arriving_bytes} bytes of bodies on their way; {size_bytes} "
                "bytes of this one had come",
                retry_after_s=settings.retry_after_s,
            )
        if late:
            rule = f"body_timeout_s: must arrive within {settings.body_timeout_s} s"
        else:
            rule = (
                f"min_body_bytes_per_s: must bring {settings.min_body_bytes_per_s:g} bytes a second in each "
                f"{settings.body_grace_s} s, body_grace_s"
            )
        return CutError(f"{rule}; got {size_bytes} bytes", retry_after_s=settings.retry_after_s)

    def too_large(self) -> TooLargeError:
        """The error for a body over its bound."""
        return TooLargeError(f"max_body_bytes: at most {self._settings.max_body_bytes} bytes a body; got more")


def _expire(limit: asyncio.Timeout, loop: asyncio.AbstractEventLoop) -> None:
    if not limit.expired():
        limit.reschedule(loop.time())
