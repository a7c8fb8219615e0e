"""Content encodings: what is read, and that no input costs more than its bound."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decompress import decompress
from schemas.errors import MalformedRequestError, PermanentError, TooLargeError, UnsupportedMediaError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1024 * 1024
BODY = bytes(range(256)) * 1000
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}


@pytest.mark.parametrize("encoding", COMPRESS)
def test_what_was_compressed_comes_back(encoding: str) -> None:
    assert decompress(encoding, COMPRESS[encoding](BODY), max_bytes=len(BODY)) == BODY


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_identity_is_the_same_object(encoding: str) -> None:
    assert decompress(encoding, BODY, max_bytes=len(BODY)) is BODY


def test_deflate_without_its_zlib_header_is_read_too() -> None:
    raw = zlib.compressobj(wbits=-15)
    assert decompress("deflate", raw.compress(BODY) + raw.flush(), max_bytes=len(BODY)) == BODY


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_members_one_after_another_are_one_body(encoding: str) -> None:
    compress = COMPRESS[encoding]
    many = compress(BODY) + compress(b"") + compress(b"tail")
    assert decompress(encoding, many, max_bytes=MIB) == BODY + b"tail"


@pytest.mark.parametrize("encoding", COMPRESS)
def test_the_bound_itself_is_allowed_and_one_byte_more_is_not(encoding: str) -> None:
    compressed = COMPRESS[encoding](b"x" * 1000)
    assert len(decompress(encoding, compressed, max_bytes=1000)) == 1000
    with pytest.raises(TooLargeError, match="at most 999 bytes"):
        decompress(encoding, compressed, max_bytes=999)


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_the_bound_holds_without_compression(encoding: str) -> None:
    with pytest.raises(TooLargeError):
        decompress(encoding, b"x" * 11, max_bytes=10)


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_bomb_costs_no_more_memory_than_its_bound(encoding: str) -> None:
    bomb = COMPRESS[encoding](bytes(256 * MIB))
    assert len(bomb) < MIB
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            decompress(encoding, bomb, max_bytes=MIB)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * MIB


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_of_many_members_is_bounded_in_total(encoding: str) -> None:
    with pytest.raises(TooLargeError):
        decompress(encoding, COMPRESS[encoding](bytes(MIB)) * 20, max_bytes=10 * MIB)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_flood_of_empty_members_is_refused(encoding: str) -> None:
    with pytest.raises(TooLargeError, match="4096 members"):
        decompress(encoding, COMPRESS[encoding](b"") * 100_000, max_bytes=MIB)


@pytest.mark.parametrize("encoding", COMPRESS)
@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_truncated_body_is_malformed(encoding: str, cut: int) -> None:
    with pytest.raises(MalformedRequestError, match=encoding):
        decompress(encoding, COMPRESS[encoding](BODY)[:-cut], max_bytes=MIB)


@pytest.mark.parametrize("encoding", COMPRESS)
def test_an_empty_body_is_malformed(encoding: str) -> None:
    with pytest.raises(MalformedRequestError):
        decompress(encoding, b"", max_bytes=MIB)


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "GZIP2", "x" * 1000])
def test_other_encodings_are_refused_by_name(encoding: str) -> None:
    with pytest.raises(UnsupportedMediaError, match="must be one of gzip, deflate, zstd, identity"):
        decompress(encoding, BODY, max_bytes=MIB)


def test_a_zstd_window_over_eight_mebibytes_is_refused() -> None:
    wide: dict[int, int] = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.compression_level: 1}
    compressor = zstd.ZstdCompressor(options=wide)
    frame = compressor.compress(b"x" * MIB) + compressor.flush()
    with pytest.raises(MalformedRequestError):
        decompress("zstd", frame, max_bytes=64 * MIB)


@settings(max_examples=300, deadline=None)
@given(
    encoding=st.sampled_from(sorted(COMPRESS)), body=st.binary(max_size=400), cut=st.integers(0, 400), noise=st.binary()
)
def test_any_bytes_are_decoded_or_refused(encoding: str, body: bytes, cut: int, noise: bytes) -> None:
    for data in (body, COMPRESS[encoding](body)[:cut] + noise):
        try:
            assert len(decompress(encoding, data, max_bytes=1000)) <= 1000
        except PermanentError:
            continue
