"""Changes a valid request: its structure, values, bytes, headers and path. Pure: `rng` decides."""

import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from tests.fuzz.seeds import KEYS, Request, seal

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, -(10**30), 0.5, -0.0, 1e39,
    1e308, 5e-324, "", "a", "the cat", "\x00", "\ud800", "\u00e9\U0001f600", "/", "..", "a" * 200, "x" * 5000,
    [], {}, [[]], [None], [[1]], {"": 0}, {"x": [1]}, [[[[[[1]]]]]], [1, "a", None], [0.5] * 13, [0.1] * 12,
    "all", "last", "vowels", "words", "1", "y",
]  # fmt: skip
HEADERS = {
    "Content-Type": [
        "",
        "text/plain",
        "application/json; charset=x",
        "application/x+json",
        "a" * 300,
        "\xff",
    ],
    "Content-Encoding": ["gzip", "deflate", "br", "identity", "gzip, gzip", ""],
    "Inference-Header-Content-Length": ["0", "-1", "99999999999", "1", "40", "\xb2", "a"],
    "Authorization": ["", "Bearer", f"Bearer {KEYS['beta']}", "Bearer \xff", "Basic a"],
    "X-Request-ID": ["", "a" * 200, "\x7f", "b"],
    "Accept": ["text/event-stream", "*/*", "text/event-stream;q=0", "application/openmetrics-text", "\xff"],
    "Accept-Encoding": ["gzip", "deflate;q=0.1", "*;q=0", "gzip;q=x", ",,;", "\xff", "br"],
    "Idempotency-Key": ["", '"a"', "a", '"', '"' + "k" * 300 + '"', "\xff", '"k-1"; a=1'],
    "Last-Event-ID": ["", "0", "-1", "7", "9" * 40, "1.2", "\xff", "s:1"],
    "Origin": ["", "null", "https://app.example.org", "https://other.example", "\xff", "*"],
    "Access-Control-Request-Method": ["", "POST", "X", "\xff"],
    "Sec-WebSocket-Key": ["", "a", "\xff", "dGhlIHNhbXBsZSBub25jZQ=="],
    "Sec-WebSocket-Version": ["", "8", "13, 8", "x"],
    "Sec-WebSocket-Extensions": ["permessage-deflate", ";;", "x; y=\xff"],
    "Expect": ["100-continue", "x"],
    "Connection": ["close", "upgrade"],
    "Upgrade": ["websocket", "h2c"],
}
MAX_BODY = 100_000  # bytes, above which a body is not changed further
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"]


def mutated(rng: Random, seeds: list[Request]) -> Request:
    """One of the seeds, changed in one to three ways."""
    request = rng.choice(seeds)
    request = replace(request, headers=dict(request.headers))
    changes = [rng.choice(MUTATIONS) for _ in range(rng.choice((1, 1, 2, 3)))]
    for change in sorted(
        changes, key=lambda change: change is _framing
    ):  # the body is framed when it is complete
        if len(request.body) <= MAX_BODY:  # larger ones cost us more than the server
            change(rng, request, seeds)
    return request


def _structure(rng: Random, request: Request, _: list[Request]) -> None:
    """A value in the JSON is replaced, removed, copied, wrapped, or multiplied."""
    try:
        document = json.loads(request.body)
    except (ValueError, RecursionError):
        _bytes(rng, request, [])
        return
    holders: list[Any] = [[document]]
    _collect(document, holders)
    holder = rng.choice(holders)
    place = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    change = rng.randrange(7)
    if change <= 2:
        holder[place] = rng.choice(ODD)
    elif change == 3:
        del holder[place]
    elif change == 4:
        holder[place] = [holder[place]] * rng.choice(
            (1, 2, 2, 50, 50, max(1, MAX_BODY // (len(request.body) + 1)))
        )
    elif change == 5 and isinstance(holder, list):
        holder.insert(place, rng.choice(ODD))
    elif isinstance(holder, dict):
        holder[
            rng.choice(
                [
                    "",
                    "steps",
                    "text",
                    "x",
                    "session",
                    "at",
                    "data",
                    "parameters",
                    "state",
                    "return_state",
                    "history",
                    "\x00",
                ]
            )
        ] = holder[place]
    top = holders[0]
    request.body = json.dumps(top[0] if top else None, ensure_ascii=rng.random() < 0.5).encode(
        errors="replace"
    )


def _collect(value: Any, holders: list[Any]) -> None:
    """All lists and objects that have something in them, to a few at each level."""
    if isinstance(value, dict | list) and value:
        holders.append(value)
        for entry in list(value.values() if isinstance(value, dict) else value)[:4]:
            _collect(entry, holders)


def _bytes(rng: Random, request: Request, _: list[Request]) -> None:
    """Some bytes are changed, removed, repeated, or added."""
    body = bytearray(request.body)
    for _time in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(body) + 1)
        change = rng.randrange(4)
        if change == 0 and at < len(body):
            body[at] = rng.choice((body[at] ^ 1 << rng.randrange(8), 0, 255, *b'[]{}",:'))
        elif change == 1:
            del body[at : at + rng.choice((1, 2, 20))]
        elif change == 2:
            body[at:at] = body[at : at + 20] * rng.choice((1, 3, 200))
        else:
            body[at:at] = rng.choice(
                (b"\x00", b"\xff\xfe", b"[" * 2000, b'"', b"\\ud800", b"NaN", b"1e999", b" " * 600)
            )
    request.body = bytes(body)


def _sealed(rng: Random, request: Request, seeds: list[Request]) -> None:
    """A session's file whose header or content is changed, and whose checksum is right all the same."""
    if request.body[:4] != b"CGSX":
        _structure(rng, request, seeds)
        return
    length = int.from_bytes(request.body[6:10], "little")
    inner = replace(request, body=request.body[42 : 42 + length])
    rng.choice((_structure, _structure, _bytes))(rng, inner, seeds)
    rest = request.body[42 + length :]
    request.body = seal(inner.body + rest, len(inner.body))


def _splice(rng: Random, request: Request, seeds: list[Request]) -> None:
    """The body, or a part of it, is that of another route."""
    other = rng.choice(seeds).body
    at = rng.randrange(len(request.body) + 1)
    request.body = rng.choice((other, request.body[:at] + other[len(other) // 2 :], request.body + other))


def _header(rng: Random, request: Request, _: list[Request]) -> None:
    name = rng.choice(list(HEADERS))
    request.headers[name] = rng.choice(HEADERS[name])


def _target(rng: Random, request: Request, seeds: list[Request]) -> None:
    """Another method, path or query."""
    path, _, query = request.path.partition("?")
    change = rng.randrange(5)
    if change == 0:
        request.method = rng.choice(METHODS)
    elif change == 1:
        request.path = rng.choice(seeds).path
    elif change == 2:
        parts = path.split("/")
        parts[rng.randrange(len(parts))] = rng.choice(
            ["", "..", "%00", "%ff", "a" * 300, "1", "%2f", "vowels", "e"]
        )
        request.path = "/".join(parts) or "/"
    elif change == 3:
        odd = ["limit=0", "limit=" + "9" * 99, "after=%00", "state=2", "version=", "replace=x", "=&&", "%ff"]
        request.path = f"{path}?{query}&{rng.choice(odd)}"
    else:
        request.path += rng.choice(["%", "?", "#", "%e2%82", "/", "//", ";x"])


def _framing(rng: Random, request: Request, _: list[Request]) -> None:
    """The body in chunks, or a length that is wrong; never too long, which the server would wait for."""
    chunks = b"".join([b"%x\r\n%b\r\n" % (len(part), part) for part in _halves(request.body) if part])
    change = rng.randrange(4)
    if change < 2:
        request.body, request.framing = chunks + b"0\r\n\r\n", "Transfer-Encoding: chunked"
    elif change == 2:
        request.framing = (
            f"Content-Length: {rng.choice(['-1', 'a', '1e3', '99999999999999999999', '0, 0', ''])}"
        )
    else:
        request.framing = f"Content-Length: {len(request.body) // 2}"


def _halves(body: bytes) -> tuple[bytes, bytes]:
    return body[: len(body) // 2], body[len(body) // 2 :]


Mutation = Callable[[Random, Request, list[Request]], None]
MUTATIONS: list[Mutation] = [
    *[_structure] * 8, *[_bytes] * 3, *[_sealed] * 2, _splice, _header, _header, _target, _target, _framing,
]  # fmt: skip
