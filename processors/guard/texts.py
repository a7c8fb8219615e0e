"""What a rule does to texts, a column at a time: mask, or hash with a key."""

from __future__ import annotations

import hmac
import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from processors.decode.strings import Array
from processors.guard.rules import RedactionRule

MASK = "****"
HASH_PREFIX = "hmac:"
_HASH_BYTES = 16
# Put around a match to find it again, and never seen outside: long and drawn at each start, so that no text holds it.
_MARK = f"\x00{os.urandom(12).hex()}\x00"


def chosen(texts: pa.StringArray, rule: RedactionRule) -> Array:
    """Which of the texts the rule is about, as booleans."""
    if rule.pattern is None:
        return np.ones(len(texts), np.bool_)
    found: Array = pc.match_substring_regex(texts, rule.pattern).to_numpy(zero_copy_only=False)
    return found


def rewritten(texts: pa.StringArray, rule: RedactionRule, key: bytes) -> pa.StringArray:
    """The texts that the rule was about, after it. `drop` leaves the empty text."""
    if rule.action == "drop":
        return pa.array([""], pa.string()).take(pa.array(np.zeros(len(texts), np.int64)))
    if rule.pattern is None:
        return hashed(texts, key) if rule.action == "hash" else pa.array([MASK] * len(texts), pa.string())
    if rule.action == "mask":
        return pc.replace_substring_regex(texts, rule.pattern, MASK)
    # \0 is the match (RE2's rewrites). Split at the marks, matches are every second piece.
    marked = pc.replace_substring_regex(texts, rule.pattern, f"{_MARK}\\0{_MARK}")
    pieces = pc.split_pattern(marked, _MARK)
    offsets, flat = pieces.offsets.to_numpy(), pieces.values
    nth = np.arange(len(flat)) - np.repeat(offsets[:-1], np.diff(offsets))
    matches = np.flatnonzero(nth % 2)
    places = np.arange(len(flat))
    places[matches] = len(flat) + np.arange(len(matches))
    everything = pa.concat_arrays([flat, hashed(flat.take(pa.array(matches)), key)])
    return pc.binary_join(pa.ListArray.from_arrays(pieces.offsets, everything.take(pa.array(places))), "")


def hashed(texts: pa.StringArray, key: bytes) -> pa.StringArray:
    """HMAC-SHA-256 under the key (RFC 2104), its first 16 bytes in hex after `hmac:`, of each text."""
    coded = texts.dictionary_encode()
    # By distinct value of a batch, not by span: 1.4 us each.
    made = [
        f"{HASH_PREFIX}{hmac.digest(key, value.as_buffer() or b'', 'sha256')[:_HASH_BYTES].hex()}"
        for value in coded.dictionary
    ]
    return pa.array(made, pa.string()).take(coded.indices)


def key_id(key: bytes) -> str:
    """Names a key without giving it away; '' for none."""
    return hmac.digest(key, b"sluiceway redaction key", "sha256")[:4].hex() if key else ""
