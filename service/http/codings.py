"""Content codings (RFC 9110, 8.4): bodies that arrive compressed, and responses that leave so.

It knows gzip and deflate; it knows nothing of what is in a body. What is large is left to a thread.
"""

import re
import zlib
from functools import partial

from service.errors import BadHeader, BodyTooLarge, UnsupportedEncoding
from service.http.body import BodyLimits
from service.http.messages import Headers, Response
from service.memory import BYTES_PER_BODY_BYTE
from service.predict import LARGE_BODY, Aside

WINDOW_BITS = {b"gzip": 31, b"deflate": 15}  # zlib's parameter that selects the format; the preferred first
ALIASES = {b"x-gzip": b"gzip"}  # RFC 9110, 8.4.1.3
PIECE = 1 << 20  # bytes that are inflated before they are counted
LEVEL = 1  # of JSON numbers, level 6 makes 5 % less in three times the time
_PACKED_TYPE = re.compile(rb"(image|audio|video|font)/|application/(gzip|zip)")
WEIGHT = re.compile(rb"q=(0(\.\d{0,3})?|1(\.0{0,3})?)", re.IGNORECASE)


class Codings:
    """Decodes requests and encodes responses."""

    def __init__(self, aside: Aside, *, min_bytes: int) -> None:
        """`min_bytes`: of a response that is compressed; 0: none is."""
        self._aside = aside
        self.min_bytes = min_bytes or 1 << 62

    async def decode(self, body: bytes, coding: bytes, limits: BodyLimits) -> bytes:
        """A request's body. What it has more than `body` is taken from the budget; the caller gives it back.

        Raises UnsupportedEncoding, BodyTooLarge, BadHeader or MemoryExhausted.
        """
        inflation = Inflation(body, coding)
        parts: list[bytes] = []
        size, held = 0, 0
        try:
            while not inflation.is_complete:
                parts.append(await self._aside.run(inflation.inflate, len(body)))
                size += len(parts[-1])
                if size > limits.max_bytes:
                    raise BodyTooLarge(f"the decompressed body has more than {limits.max_bytes} bytes")
                further = max(0, size - len(body)) * BYTES_PER_BODY_BYTE - held
                limits.budget.take(further)
                held += further
        except BaseException:
            limits.budget.give_back(held)
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def encode(self, headers: Headers, response: Response) -> None:
        """Compress a response of `min_bytes` or more if the client accepts it and it gets smaller.

        `headers`: of the request.
        """
        if response.status != 200 or not _is_compressible(response.headers):
            return
        response.headers.append((b"vary", b"accept-encoding"))
        coding = choose([value for name, value in headers if name == b"accept-encoding"])
        if coding is None:
            return
        work = partial(_compress, response.body, coding)
        packed = await self._aside.run(work) if len(response.body) > LARGE_BODY else work()
        if len(packed) < len(response.body):
            response.body = packed
            response.headers[:] = [_of_packed(name, value, len(packed)) for name, value in response.headers]
            response.headers.append((b"content-encoding", coding))


class Inflation:
    """A compressed body that is inflated piece by piece, so that a small one cannot become a large one."""

    def __init__(self, body: bytes, coding: bytes) -> None:
        """Raises UnsupportedEncoding."""
        coding = ALIASES.get(coding, coding)
        if coding not in WINDOW_BITS:
            raise UnsupportedEncoding(
                f"content-encoding {coding.decode('latin-1')!r}: expected gzip or deflate"
            )
        self._inflater = zlib.decompressobj(WINDOW_BITS[coding])
        self._rest = body

    @property
    def is_complete(self) -> bool:
        """Whether all has been inflated."""
        return self._inflater.eof

    def inflate(self) -> bytes:
        """The next bytes, at most `PIECE`. Raises BadHeader."""
        try:
            piece = self._inflater.decompress(self._rest, PIECE)
        except zlib.error as error:
            raise BadHeader(f"the body does not match its content-encoding: {error}") from error
        self._rest = self._inflater.unconsumed_tail
        if self._inflater.unused_data or not (piece or self._inflater.eof):
            raise BadHeader("the compressed body is incomplete, or bytes follow it")
        return piece


def choose(accepted: list[bytes]) -> bytes | None:
    """The coding for a response to a request with these Accept-Encoding headers; None: no coding.

    The highest weight decides (RFC 9110, 12.5.3); of equal ones, a coding wins over none.
    """
    weights: dict[bytes, float] = {}
    for entry in b",".join(accepted).lower().split(b","):
        name, _, parameter = (part.strip() for part in entry.partition(b";"))
        if not parameter:
            weight = 1.0
        else:
            match = WEIGHT.fullmatch(parameter)
            weight = float(match[1]) if match else 0.0  # an invalid weight accepts nothing
        weights[ALIASES.get(name, name)] = weight
    others = weights.get(b"*", 0.0)
    best = max(WINDOW_BITS, key=lambda coding: weights.get(coding, others))
    weight = weights.get(best, others)
    return best if weight and weight >= weights.get(b"identity", 0.0) else None


def _compress(body: bytes, coding: bytes) -> bytes:
    deflater = zlib.compressobj(LEVEL, wbits=WINDOW_BITS[coding])
    return deflater.compress(body) + deflater.flush()


def _is_compressible(headers: Headers) -> bool:
    return not any(
        name == b"content-encoding" or (name == b"content-type" and _PACKED_TYPE.match(value))
        for name, value in headers
    )


def _of_packed(name: bytes, value: bytes, size: int) -> tuple[bytes, bytes]:
    """A header of the compressed response. Its bytes differ, so a strong ETag becomes a weak one (8.8.3)."""
    if name == b"content-length":
        return name, b"%d" % size
    if name == b"etag" and not value.startswith(b"W/"):
        return name, b"W/" + value
    return name, value
