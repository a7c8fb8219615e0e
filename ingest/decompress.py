"""Content encodings: gzip, deflate, zstd, identity; the output is bounded while it grows, so a bomb costs its bound.

Several members or frames one after another are one body, as RFC 1952 and RFC 8878 have it.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Generator
from typing import Protocol

from schemas.errors import MalformedRequestError, TooLargeError, UnsupportedMediaError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# RFC 9659: over HTTP a zstd window is at most 8 MiB, so a frame cannot ask us for more memory than that.
_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}
# Each member's end copies what was fed and not used: without these two bounds, many empty members cost quadratic time.
_SLICE_BYTES = 64 * 1024
_MAX_MEMBERS = 4096
# What one step makes: a few milliseconds.
_STEP_BYTES = 1024 * 1024
ENCODINGS = ("gzip", "deflate", "zstd", "identity")


class _Member(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: memoryview, max_length: int, /) -> bytes: ...


def _gzip(_body: bytes) -> _Member:
    return zlib.decompressobj(wbits=31)


def _deflate(body: bytes) -> _Member:
    # RFC 9110 means the zlib format; some clients send raw deflate, which lacks zlib's header (CM 8, check modulo 31).
    wrapped = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return zlib.decompressobj(wbits=15 if wrapped else -15)


def _zstd(_body: bytes) -> _Member:
    return zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)


_MEMBERS = {"gzip": _gzip, "deflate": _deflate, "zstd": _zstd}


def decompress(encoding: str, body: bytes, *, max_bytes: int) -> bytes:
    """All of `decompress_in_steps` at once."""
    steps = decompress_in_steps(encoding, body, max_bytes=max_bytes)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            decoded: bytes = end.value
            return decoded


def decompress_in_steps(
    encoding: str, body: bytes, *, max_bytes: int, charge: Callable[[int], None] = lambda _bytes: None
) -> Generator[None, None, bytes]:
    """Decode `body` from a Content-Encoding ('' is identity); yields after each MiB or so, returns the whole.

    `charge` is told the bytes of each step, and what it raises is passed on.

    Raises:
        UnsupportedMediaError: an encoding that we do not read, or more than one.
        MalformedRequestError: truncated or damaged.
        TooLargeError: over `max_bytes` when decoded.
    """
    if encoding in ("", "identity"):
        _check(len(body), max_bytes)
        return body
    new_member = _MEMBERS.get(encoding)
    if new_member is None:
        raise UnsupportedMediaError(f"content-encoding: must be one of {', '.join(ENCODINGS)}; got {encoding[:64]!r}")
    view = memoryview(body)
    parts: list[bytes] = []
    position = size = members = 0
    step_bytes = 0
    more_to_come = False
    member: _Member | None = None
    while position < len(body) or more_to_come:
        if member is None:
            members += 1
            if members > _MAX_MEMBERS:
                raise TooLargeError(f"content-encoding {encoding}: at most {_MAX_MEMBERS} members or frames; got more")
            member = new_member(body[position : position + 2])
        # A zstd frame keeps what it was fed and could not decode yet; zlib gives it back.
        fed = view[position : position + _SLICE_BYTES] if getattr(member, "needs_input", True) else view[:0]
        most_bytes = min(_STEP_BYTES, max_bytes - size + 1)
        try:
            part = member.decompress(fed, most_bytes)
        except (zlib.error, zstd.ZstdError) as error:
            raise MalformedRequestError(
                f"content-encoding {encoding}: damaged after byte {position}: {error}"
            ) from error
        size += len(part)
        _check(size, max_bytes)
        charge(len(part))
        parts.append(part)
        position += len(fed) - len(getattr(member, "unconsumed_tail", b""))
        more_to_come = len(part) == most_bytes and not member.eof
        step_bytes += len(part)
        if step_bytes >= _STEP_BYTES:
            step_bytes = 0
            yield
        if member.eof:
            position -= len(member.unused_data)
            member = None
    if member is not None or not parts:
        raise MalformedRequestError(f"content-encoding {encoding}: ends inside its data after {len(body)} bytes")
    return b"".join(parts)


def _check(size_bytes: int, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise TooLargeError(f"max_decompressed_bytes: at most {max_bytes} bytes after decompression; got more")
