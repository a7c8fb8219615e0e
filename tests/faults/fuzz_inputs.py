"""What the fuzzing of the receivers sends: real requests of all signals, edited at random, in every encoding."""

from __future__ import annotations

import base64
import gzip
import random
import sys
import zlib
from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf import json_format

from schemas.signals import Signal
from tests.otlp_requests import encode, items, mutate, request

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SIGNALS = tuple(Signal)
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: gzip.compress(body, 1),
    "deflate": lambda body: zlib.compress(body, 1),
    "zstd": lambda body: zstd.compress(body, 1),
}
SOURCES = 12
# A new generation of sources after so many inputs: making one costs as much as hundreds of edits.
GENERATION = 4000
NUMBERS: tuple[Any, ...] = (0, -1, 1.5, 2**63, 2**64 - 1, -(2**63), 1.8446744073709552e19, 1e300)
ODD: tuple[Any, ...] = (*NUMBERS, None, True, "", "NaN", "0", "9" * 40, "zz", [], {}, [[]])
NAMES = ("traceId", "timeUnixNano", "kind", "value", "attributes", "arrayValue", "kvlistValue", "intValue", "sum", "x")


class Inputs:
    """An endless supply of inputs; `max_bytes` bounds the sources, not their edits."""

    def __init__(self, rng: random.Random, *, max_bytes: int = 2000) -> None:
        self.rng = rng
        self._max_bytes = max_bytes
        self._left = 0

    def message(self) -> tuple[Signal, bytes]:
        """A protobuf request: one in eight as it was made, one in forty mere noise, the others edited."""
        if not self._left:
            self._renew()
        self._left -= 1
        rng = self.rng
        signal = rng.choice(SIGNALS)
        chance = rng.random()
        if chance < 0.025:
            return signal, rng.randbytes(rng.randrange(60))
        source = rng.choice(self._bodies[signal])
        return signal, source if chance < 0.15 else mutate(rng, source)

    def json(self) -> tuple[Signal, bytes]:
        """A JSON request whose tree was edited, one in four in its text as well."""
        if not self._left:
            self._renew()
        self._left -= 1
        rng = self.rng
        signal = rng.choice(SIGNALS)
        document = rng.choice(self._documents[signal])
        for _ in range(rng.choice((0, 1, 1, 2, 4))):
            document = self._twisted(document)
        text = orjson.dumps(document)
        return signal, mutate(rng, text) if rng.random() < 0.25 else text

    def compressed(self) -> tuple[Signal, str, bytes]:
        """A compressed protobuf request, edited before, after or not at all; sometimes in several members."""
        rng = self.rng
        signal, body = self.message()
        encoding = rng.choice(("gzip", "deflate", "zstd"))
        chance = rng.random()
        if chance < 0.1:
            cut = rng.randrange(len(body) + 1)
            packed = COMPRESS[encoding](body[:cut]) + COMPRESS[encoding](body[cut:])
        elif chance < 0.11:
            packed = COMPRESS[encoding](bytes(rng.choice((100_000, 1_000_000))))
        elif chance < 0.3:
            packed = COMPRESS[encoding](body)
        else:
            packed = rng.choice(self._packed[signal, encoding])
        return signal, encoding, mutate(rng, packed) if rng.random() < 0.75 else packed

    def tenant(self) -> str:
        """Mostly a good name, or none."""
        rng = self.rng
        if rng.random() < 0.97:
            return rng.choice(("", "", "shop", "a.b-c_1", "t" * 128))
        return "".join(chr(rng.randrange(33, 127)) for _ in range(rng.choice((1, 5, 129))))

    def _renew(self) -> None:
        rng = self.rng
        self._left = GENERATION
        self._bodies: dict[Signal, list[bytes]] = {}
        self._documents: dict[Signal, list[Any]] = {}
        self._packed: dict[tuple[Signal, str], list[bytes]] = {}
        for signal in SIGNALS:
            messages: list[Any] = []
            while len(messages) < SOURCES:
                message = request(rng, signal, faults=rng.choice((0.0, 0.01, 0.05)), repeats=rng.choice((1, 2)))
                if message.ByteSize() <= self._max_bytes and any(True for _ in items(message)):
                    messages.append(message)
            self._bodies[signal] = [encode(message) for message in messages]
            self._documents[signal] = [otlp_json(message) for message in messages]
            for encoding, compress in COMPRESS.items():
                self._packed[signal, encoding] = [compress(body) for body in self._bodies[signal]]

    def _twisted(self, node: Any) -> Any:
        """A copy of a JSON tree with one node replaced, renamed, removed or wrapped, each level as likely."""
        rng = self.rng
        if not isinstance(node, dict | list) or not node or rng.random() < 0.15:
            return rng.choice((rng.choice(ODD), [node], {rng.choice(NAMES): node}, [node] * 3))
        if isinstance(node, list):
            at = rng.randrange(len(node))
            return [*node[:at], self._twisted(node[at]), *node[at + 1 :]]
        key = rng.choice(list(node))
        chance = rng.random()
        if chance < 0.05:
            return {name: value for name, value in node.items() if name != key}
        if chance < 0.1:
            return {**node, rng.choice(NAMES): node[key]}
        return {**node, key: self._twisted(node[key])}


def otlp_json(message: Any) -> Any:
    """A request as OTLP/JSON, which writes ids in hex."""
    return _with_hex_ids(json_format.MessageToDict(message, use_integers_for_enums=True))


def _with_hex_ids(node: Any) -> Any:
    if isinstance(node, list):
        return [_with_hex_ids(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    return {
        key: base64.b64decode(value).hex()
        if key in ("traceId", "spanId", "parentSpanId") and isinstance(value, str)
        else _with_hex_ids(value)
        for key, value in node.items()
    }
