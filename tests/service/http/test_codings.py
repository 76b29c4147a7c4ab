"""Content codings: what is undone, what a client accepts, and what is worth compressing."""

import asyncio
import gzip
import os
import zlib

import pytest

from service.errors import BadHeader, BodyTooLarge, MemoryExhausted, UnsupportedEncoding
from service.http.body import BodyLimits
from service.http.codings import PIECE, Codings, choose
from service.http.messages import Header, Headers, Response
from service.memory import BYTES_PER_BODY_BYTE, MemoryBudget
from service.predict import LARGE_BODY, Aside

JSON = (b"content-type", b"application/json")


def decode(body: bytes, coding: bytes, *, max_bytes: int, budget: MemoryBudget | None = None) -> bytes:
    limits = BodyLimits(max_bytes, 1.0, budget or MemoryBudget(1 << 40))
    return asyncio.run(Codings(Aside(), min_bytes=1).decode(body, coding, limits))


@pytest.mark.parametrize("size", [0, 1, 100, PIECE, PIECE + 1, 2 * PIECE])
def test_gzip_and_deflate_are_undone_within_the_limit(size: int) -> None:
    plain = os.urandom(size)
    for coding, packed in ((b"gzip", gzip.compress(plain)), (b"deflate", zlib.compress(plain))):
        assert decode(packed, coding, max_bytes=size) == plain
        if size:
            with pytest.raises(BodyTooLarge):
                decode(packed, coding, max_bytes=size - 1)
        for damaged in (packed[:-1], packed + b"!", b"?" + packed):
            with pytest.raises(BadHeader):
                decode(damaged, coding, max_bytes=2 * size + 1000)
    with pytest.raises(UnsupportedEncoding):
        decode(plain, b"br", max_bytes=100)


def test_a_body_that_grows_is_counted_while_it_grows() -> None:
    """16 kB of gzip are 16 MB of zeros, which were made before they were counted."""
    packed = gzip.compress(bytes(8 * PIECE))
    budget = MemoryBudget(8 * PIECE * BYTES_PER_BODY_BYTE)
    assert len(decode(packed, b"gzip", max_bytes=8 * PIECE, budget=budget)) == 8 * PIECE
    assert budget.used == (8 * PIECE - len(packed)) * BYTES_PER_BODY_BYTE  # the caller gives it back
    inflated: list[int] = []
    with pytest.raises(MemoryExhausted):
        decode(packed, b"gzip", max_bytes=8 * PIECE, budget=Shrinking(budget.max_bytes, inflated))
    assert inflated == [PIECE * BYTES_PER_BODY_BYTE - len(packed) * BYTES_PER_BODY_BYTE]


class Shrinking(MemoryBudget):
    """Another request takes the rest as soon as this one has taken something."""

    def __init__(self, max_bytes: int, taken: list[int]) -> None:
        super().__init__(max_bytes)
        self._taken = taken

    def take(self, num_bytes: int) -> None:
        super().take(num_bytes)
        self._taken.append(num_bytes)
        self.used = self.max_bytes


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ([], None),
        ([b""], None),
        ([b"gzip"], b"gzip"),
        ([b"GZip , br"], b"gzip"),
        ([b"x-gzip"], b"gzip"),
        ([b"deflate"], b"deflate"),
        ([b"deflate, gzip"], b"gzip"),
        ([b"deflate", b"gzip;q=0.5"], b"deflate"),
        ([b"br, zstd"], None),
        ([b"*"], b"gzip"),
        ([b"*, gzip;q=0"], b"deflate"),
        ([b"gzip;q=0"], None),
        ([b"gzip; q=0.000"], None),
        ([b"gzip;Q=1.000"], b"gzip"),
        ([b"gzip;q=0.5, identity"], None),
        ([b"gzip;q=0.5, identity;q=0.5"], b"gzip"),
        ([b"identity;q=0, gzip;q=0.001"], b"gzip"),
        ([b"gzip;q=2"], None),
        ([b"gzip;level=9"], None),
        ([b"\xff;q=\xff,,;"], None),
    ],
)
def test_the_highest_weight_decides(accepted: list[bytes], coding: bytes | None) -> None:
    assert choose(accepted) == coding


def encode(body: bytes, *headers: Header, status: int = 200, accepts: bytes = b"gzip") -> Response:
    response = Response(status, [*headers, (b"content-length", b"%d" % len(body))], body)
    request: Headers = [(b"accept-encoding", accepts)]
    asyncio.run(Codings(Aside(), min_bytes=1).encode(request, response))
    return response


@pytest.mark.parametrize("size", [1000, LARGE_BODY + 1])
@pytest.mark.parametrize(("coding", "bits"), [(b"gzip", 31), (b"deflate", 15)])
def test_a_response_is_compressed(size: int, coding: bytes, bits: int) -> None:
    response = encode(b"7" * size, JSON, accepts=coding)
    assert zlib.decompress(response.body, bits) == b"7" * size
    assert dict(response.headers) == {
        b"content-type": b"application/json",
        b"content-length": b"%d" % len(response.body),
        b"vary": b"accept-encoding",
        b"content-encoding": coding,
    }


def test_what_would_not_get_smaller_is_sent_as_it_is() -> None:
    noise = os.urandom(1000)
    response = encode(noise, JSON)
    assert response.body == noise and b"content-encoding" not in dict(response.headers)
    assert dict(response.headers)[b"vary"] == b"accept-encoding", "a cache must not give it to other clients"


@pytest.mark.parametrize(
    "header",
    [(b"content-type", b"image/png"), (b"content-type", b"application/zip"), (b"content-encoding", b"br")],
)
def test_what_is_compressed_already_is_left_alone(header: Header) -> None:
    assert encode(b"7" * 1000, header).body == b"7" * 1000


def test_only_whole_successes_are_compressed() -> None:
    assert encode(b"7" * 1000, JSON, status=206).body == b"7" * 1000, "a range counts plain bytes"


@pytest.mark.parametrize(("etag", "weak"), [(b'"a"', b'W/"a"'), (b'W/"a"', b'W/"a"')])
def test_a_compressed_body_has_a_weak_etag(etag: bytes, weak: bytes) -> None:
    assert dict(encode(b"7" * 1000, JSON, (b"etag", etag)).headers)[b"etag"] == weak
