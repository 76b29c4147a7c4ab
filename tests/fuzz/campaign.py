"""Sends mutated requests to a real server, and checks each answer and the server after them all.

Requests are pipelined on several connections. A connection that the server closes is opened again; what was
sent on it and not answered counts as refused, with the request that closed it.
"""

import asyncio
import contextlib
import hashlib
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.committed import committed_models
from tests.e2e.server import Server, running
from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import KEYS, ORIGIN, SECRET, Request, seeds

ROOT = Path(__file__).parents[2]
CASES = Path(__file__).parent / "cases"
PIPELINED = 8
ANSWER_S = 60.0  # generous: a hang has no end
MAX_GROWTH = 96 << 20  # bytes, from the first tenth of a campaign to its end
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
# The one documented 500 that a request can bring about: numbers that make the model overflow.
EXPECTED_500 = b'"code":"non_finite_output"'


@dataclass(slots=True)
class Tally:
    """What a campaign has found."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    unanswered: int = 0
    growth: int = 0
    started: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        rate = self.sent / (time.monotonic() - self.started)
        counts = ", ".join(f"{status}: {number:,}" for status, number in sorted(self.statuses.items()))
        return (
            f"{self.sent:,} requests, {rate:,.0f}/s; {counts}; {self.unanswered:,} on closed connections; "
            f"memory +{self.growth >> 20} MB; {len(self.faults)} faults"
        )


@contextlib.contextmanager
def target(folder: Path) -> Iterator[Server]:
    """A server with a numeric model, a language model, and keys of two tenants."""
    models = folder / "models"
    models.mkdir()
    for name in ("vowels", "steered"):  # a policy may be written beside their versions
        shutil.copytree(committed_models() / "vowels", models / name)
    (models / "words").symlink_to(ROOT / "docs" / "examples" / "models" / "moby")
    hashes = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in KEYS.items()}
    keys_file = folder / "keys.toml"
    for name, digest in hashes.items():
        with keys_file.open("a") as file:
            admin = "admin = true\n" if name == "root" else ""
            file.write(f'[{name}]\n{admin}keys = ["sha256:{digest}"]\n')
    settings = {
        "state_secret": SECRET,
        "keys_file": str(keys_file),
        "cors_origins": ORIGIN,
        "compress_min_bytes": "1000",
        "max_checkpoints": "8",
        "models_dir": str(models),
        "max_sessions": "500",
        "session_min_idle_s": "0",
        "max_body_bytes": str(1 << 20),
        "max_steps": "2000",
        "max_wait_ms": "60000",  # nothing is refused only because the machine is busy
        "request_timeout_s": "60",
        "access_log": "false",
    }
    with running(folder, **settings) as server:
        yield server


async def run(
    server: Server,
    *,
    requests: int,
    seed: int,
    connections: int = 8,
    progress: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Send as many mutated requests; then check that the server is as it was."""
    tally = Tally()
    expected = await _statuses(server)
    each = -(-requests // connections)
    tasks = [
        asyncio.create_task(_attack(server, Random(f"{seed} {number}"), each, tally))
        for number in range(connections)
    ]
    base = 0
    while not all(task.done() for task in tasks):
        await asyncio.wait(tasks, timeout=1)
        if not base and tally.sent > requests // 10:
            base = _memory(server)
        progress(tally)
    for task in tasks:
        task.result()
    tally.growth = _memory(server) - base
    if base and tally.growth > MAX_GROWTH:
        tally.faults.append(f"the server's memory grew by {tally.growth >> 20} MB")
    if (now := await _statuses(server)) != expected:
        tally.faults.append(f"the valid requests were answered {expected}, and are now {now}")
    return tally


async def replay(server: Server, raw: bytes) -> bytes:
    """The answer to a request on a connection of its own; empty if it is closed without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(raw)
        async with asyncio.timeout(ANSWER_S):
            return await _read(reader)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    finally:
        writer.transport.abort()


def is_fault(answer: bytes) -> bool:
    """Whether an answer is, or holds, an error that is the server's own."""
    is_500 = answer.startswith(b"HTTP/1.1 500") and EXPECTED_500 not in answer
    return is_500 or b'"code":"internal"' in answer


async def _statuses(server: Server) -> list[int]:
    """Of the valid requests, in order, after sessions of another campaign have been deleted."""
    for name in "spqrtwgfh":
        await replay(server, Request("DELETE", f"/sessions/{name}").raw())
    return [int((await replay(server, request.raw()))[9:12] or 0) for request in seeds()]


async def _attack(server: Server, rng: Random, requests: int, tally: Tally) -> None:
    """One connection after the other."""
    valid, left = seeds(), requests
    while left:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        is_open = True
        while left and is_open:
            burst = [mutated(rng, valid) for _ in range(min(PIPELINED, left))]
            burst.sort(key=_may_close)  # so that few are lost with the connection
            left -= len(burst)
            tally.sent += len(burst)
            is_open = await _exchange(reader, writer, burst, tally)
        writer.transport.abort()


def _may_close(request: Request) -> bool:
    names = {"Connection", "Upgrade"} & request.headers.keys()
    return request.framing is not None or bool(names) or not request.path.isprintable()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, burst: list[Request], tally: Tally
) -> bool:
    """Send some requests at once and check the answers. Returns whether the connection can go on."""
    raws = [request.raw() for request in burst]
    writer.write(b"".join(raws))
    for index, request in enumerate(burst):
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await _read(reader, has_body=request.method != "HEAD")
        except (asyncio.IncompleteReadError, ConnectionError):
            tally.unanswered += len(burst) - index
            return False
        except TimeoutError:
            _keep(b"".join(raws[index:]), b"no answer", tally)
            return False
        tally.statuses[int(answer[9:12])] += 1
        if answer.startswith(b"HTTP/1.1 101"):  # what follows are frames of a stream
            tally.unanswered += len(burst) - index - 1
            return False
        if is_fault(answer):
            _keep(raws[index], answer, tally)
        # What follows a request with a wrong length is another request to the server than to us.
        if request.framing is not None and request.framing.startswith("Content-Length"):
            tally.unanswered += len(burst) - index - 1
            return False
    return True


async def _read(reader: asyncio.StreamReader, *, has_body: bool = True) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        return await _read(reader, has_body=has_body)
    if has_body and _CHUNKED.search(head):
        parts = [head]
        while not parts[-1].startswith(b"0\r\n"):
            size = await reader.readuntil(b"\r\n")
            parts.append(size + await reader.readexactly(int(size, 16) + 2))
        return b"".join(parts)
    length = _LENGTH.search(head)
    return head + (await reader.readexactly(int(length[1])) if length and has_body else b"")


def _keep(raw: bytes, answer: bytes, tally: Tally) -> None:
    """Keep a request that failed as a case, which a test replays from then on."""
    path = CASES / f"{hashlib.sha256(raw).hexdigest()[:12]}.http"
    if len(tally.faults) < 20:
        path.write_bytes(raw)
    tally.faults.append(f"{path.name}: {raw[:200]!r} was answered {answer[:300]!r}")


def _memory(server: Server) -> int:
    """Bytes of the server's own memory, without that of files such as the session store."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024
