"""Blocks answered by a server: requests to `POST /predict`, several at a time, each sent again if it may be.

It knows HTTP/1.1 and the API; it knows nothing of files or engines. It has no session, so a request that is
sent twice is computed twice, to the same answers.
"""

import contextlib
import email.utils
import http.client
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import orjson

from service.errors import CellgateError, StartupError
from service.manifest import Manifest
from service.offline.answers import Encoder
from service.offline.block import Answer, Answered, Block, Problem

TIMEOUT_S = 120.0  # of one request
FIRST_WAIT_S, MAX_WAIT_S = 0.25, 30.0  # before a request is sent again
GIVE_UP_S = 600.0  # without a single answer
RETRIED = frozenset({408, 429, 502, 503, 504})
OF_SEQUENCES = frozenset({400, 413, 422, 500})  # statuses that one sequence of a request can be the cause of
MAX_REQUEST = 256  # sequences
MAX_REQUEST_BYTES = 4 << 20  # but for one sequence alone


@dataclass(slots=True, frozen=True)
class Target:
    """The requests, and their server."""

    url: str
    model: str | None
    version: str | None
    key: str = ""  # of the API
    keep_all: bool = False


class Connection:
    """One keep-alive connection, used by one thread at a time."""

    def __init__(self, target: Target, closed: threading.Event | None = None) -> None:
        """`closed`: ends the waits between two tries."""
        parts = urlsplit(target.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise StartupError(f"--url {target.url!r}: expected http://host[:port] or https://host[:port]")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._path = parts.path.rstrip("/")
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if target.key:
            self._headers["authorization"] = f"Bearer {target.key}"
        self._closed = closed or threading.Event()

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """The status and the JSON of a reply, tried until there is one. Raises StartupError if none comes."""
        started, wait_s = time.monotonic(), FIRST_WAIT_S
        while True:
            try:
                status, content, retry_after_s = self._ask_once(method, path, body)
                if status not in RETRIED:
                    return status, orjson.loads(content)
                fault = f"{status}: {content[:200].decode(errors='replace')}"
            except orjson.JSONDecodeError as error:
                raise StartupError(f"{path}: the reply, {status}, is not JSON: is it Cellgate?") from error
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                fault, retry_after_s = f"{type(error).__name__}: {error}", 0.0
            if self._closed.is_set() or time.monotonic() - started > GIVE_UP_S:
                raise StartupError(f"the server does not answer: {fault}")
            self._closed.wait(max(retry_after_s, wait_s * random.uniform(0.5, 1)))
            wait_s = min(2 * wait_s, MAX_WAIT_S)

    def _ask_once(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes, float]:
        self._connection.request(method, self._path + path, body, self._headers)
        reply = self._connection.getresponse()
        return reply.status, reply.read(), _seconds(reply.headers.get("retry-after"))

    def close(self) -> None:
        """Also ends a call of another thread."""
        with contextlib.suppress(AttributeError, OSError):
            self._connection.sock.shutdown(2)
        self._connection.close()


class RemotePool:
    """Some connections to one server; any of their threads may ask for answers."""

    def __init__(self, target: Target, manifest: Manifest, encoder: Encoder, num_at_once: int) -> None:
        self.num_at_once = num_at_once
        self._target, self._manifest, self._encoder = target, manifest, encoder
        self._own = threading.local()
        self._closed = threading.Event()
        self._all: list[Connection] = []

    def answer(self, block: Block) -> Answered:
        """The answers of a block. Raises StartupError."""
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = Connection(self._target, self._closed)
            self._all.append(connection)
        keys, bodies = block.to_json(self._manifest, max_steps=1 << 62)
        answers: list[Answer] = [{} if isinstance(each, bytes) else each.problem() for each in bodies]
        places = [place for place, each in enumerate(bodies) if isinstance(each, bytes)]
        for group in _groups(places, bodies):
            asked = [each for each in (bodies[place] for place in group) if isinstance(each, bytes)]
            for place, answer in zip(group, self._predict(connection, asked), strict=True):
                answers[place] = answer
        failed = sum([isinstance(each, dict) for each in answers])
        encoded = self._encoder.encode(self._manifest.outputs[0], keys, answers)
        return Answered(encoded, len(answers), failed, block.progress)

    def close(self) -> None:
        """End all connections, and what waits for them."""
        self._closed.set()
        for connection in self._all:
            connection.close()

    def _predict(self, connection: Connection, sequences: list[bytes]) -> list[Answer]:
        """The answers to sequences. Those that are refused for a reason that passes are sent again."""
        answers = self._predict_once(connection, sequences)
        started, wait_s = time.monotonic(), FIRST_WAIT_S
        while refused := [place for place, answer in enumerate(answers) if _passes(answer)]:
            if self._closed.wait(wait_s * random.uniform(0.5, 1)) or time.monotonic() - started > GIVE_UP_S:
                break
            wait_s = min(2 * wait_s, MAX_WAIT_S)
            again = self._predict_once(connection, [sequences[place] for place in refused])
            for place, answer in zip(refused, again, strict=True):
                answers[place] = answer
        return answers

    def _predict_once(self, connection: Connection, sequences: list[bytes]) -> list[Answer]:
        """The answers to sequences. A request that the server refuses as too large is halved."""
        fields = {"model": self._target.model, "version": self._target.version}
        fields["return"] = "all" if self._target.keep_all else "last"
        head = orjson.dumps({name: value for name, value in fields.items() if value is not None})
        body = b'%b,"sequences":[%b]}' % (head[:-1], b",".join(sequences))
        status, reply = connection.ask("POST", "/predict", body)
        if status == 200:
            return [_answer(entry) for entry in reply["predictions"]]
        if len(sequences) == 1 and status in OF_SEQUENCES:
            return [_problem(reply)]
        if status in OF_SEQUENCES:
            half = len(sequences) // 2
            halves = sequences[:half], sequences[half:]
            return [answer for each in halves for answer in self._predict_once(connection, each)]
        raise StartupError(f"the server answers {status}: {reply.get('detail', reply)}")


def manifest_of(target: Target) -> tuple[Manifest, dict[str, str]]:
    """What the server says of the model, as far as requests and answers need it; name and version.

    Raises StartupError.
    """
    connection = Connection(target)
    try:
        status, reply = connection.ask(
            "GET", "/models" if target.model is None else f"/models/{quote(target.model)}"
        )
    finally:
        connection.close()
    if status != 200:
        raise StartupError(f"{target.url}: {reply.get('detail', status)}")
    versions = reply["models"]
    wanted = [each for each in versions if _is_wanted(each, target.version)]
    if len({each["name"] for each in wanted}) != 1:
        known = ", ".join(f"{each['name']}/{each['version']}" for each in versions)
        raise StartupError(f"{target.url}: name one of the models {known}")
    found = wanted[0]
    fields = {name: found[name] for name in ("task", "inputs", "outputs", "table")}
    return Manifest.model_validate(fields), {
        "name": found["name"],
        "version": found["version"],
        "fingerprint": found["fingerprint"],
    }


def _is_wanted(described: dict[str, Any], version: str | None) -> bool:
    if version is None:
        return bool(described["default"])
    return version in (described["version"], *described["aliases"])


def _groups(places: Sequence[int], bodies: Sequence[bytes | CellgateError]) -> Iterator[list[int]]:
    """Sequences of one request each."""
    group: list[int] = []
    size = 0
    for place in places:
        body = bodies[place]
        length = len(body) if isinstance(body, bytes) else 0
        if group and (len(group) == MAX_REQUEST or size + length > MAX_REQUEST_BYTES):
            yield group
            group, size = [], 0
        group.append(place)
        size += length
    if group:
        yield group


def _answer(entry: dict[str, Any]) -> Answer:
    if "error" in entry:
        return _problem(entry["error"])
    output = np.asarray(entry["output"])
    return output.astype(np.float64) if output.dtype == np.object_ else output  # null is NaN


def _passes(answer: Answer) -> bool:
    """Whether it is an error that may not be there the next time, such as `overloaded`."""
    return isinstance(answer, dict) and answer.get("status") in RETRIED


def _problem(problem: dict[str, Any]) -> Problem:
    """With a pointer into the sequence, as without a server."""
    pointer = problem.get("pointer", "")
    parts = pointer.split("/", 3)
    inner = "/" + parts[3] if len(parts) > 3 and parts[1] == "sequences" else ""
    rest = {name: value for name, value in problem.items() if name != "pointer"}
    return rest | ({"pointer": inner} if inner else {})


def _seconds(value: str | None) -> float:
    """Retry-After (RFC 9110, 10.2.3): seconds, or a date."""
    if value is None:
        return 0.0
    if value.strip().isdecimal():
        return min(float(value), MAX_WAIT_S)
    with contextlib.suppress(TypeError, ValueError):
        return min(MAX_WAIT_S, max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time()))
    return 0.0
