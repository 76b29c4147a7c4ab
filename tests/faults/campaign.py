"""Hundreds of histories at once against a cluster that is hurt meanwhile; each is checked when it is over."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson

from service.manifest import Manifest
from service.sequence import Array
from tests.e2e.server import ROOT, Server
from tests.faults import wire
from tests.faults.checker import Log, check
from tests.faults.client import Client
from tests.faults.cluster import Cluster, lmdb_cluster, redis_cluster, single
from tests.faults.history import Fault, History, draw
from tests.faults.proxy import proxies
from tests.faults.witness import Witness

CLUSTERS = {"lmdb": lmdb_cluster, "redis": redis_cluster}
AT_ONCE = 200  # histories
MEAN_REPLIES = 600  # between two blows


class Round:
    """The first blow of each kind. Even on a fast machine: the second half of the histories waits for it."""

    def __init__(self, kinds: Iterable[str], numbers: range) -> None:
        self._left = set(kinds)
        self._num_first = len(numbers) // 2
        self._second = numbers.start + self._num_first
        self._is_last = asyncio.Event()

    def deal(self, kind: str) -> None:
        """A blow begins: the last of its kinds falls on the second half."""
        self._left.discard(kind)
        if not self._left:
            self._is_last.set()

    def holds_up(self, num_over: int) -> bool:
        """Whether histories wait for it, the first half being over."""
        return bool(self._left) and num_over >= self._num_first

    async def admit(self, number: int) -> None:
        """Wait until that history may begin."""
        if number >= self._second:
            await self._is_last.wait()


@dataclass
class Tally:
    """What was done, and what went wrong."""

    histories: int = 0
    pieces: int = 0
    sent: int = 0
    steps: int = 0
    statuses: Counter[int] = field(default_factory=Counter)  # of the servers' replies
    faults: Counter[str] = field(default_factory=Counter)
    blows: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        kinds = (self.blows, self.faults, self.statuses)
        told = ["; ".join(f"{name} {count:,}" for name, count in sorted(kind.items())) for kind in kinds]
        return (
            f"{self.histories:,} histories, {self.pieces:,} pieces, {self.steps:,} steps, "
            f"{self.sent:,} requests in {self.seconds:.0f} s; {len(self.wrong)} wrong\n"
            f"  {told[0]}\n  per request: {told[1]}\n  replies: {told[2]}"
        )


async def run(
    name: str,
    folder: Path,
    *,
    seed: int,
    numbers: range,
    progress: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Histories `numbers` of `seed`, on a cluster of that name. Fails for nothing but a cluster that does."""
    tally = Tally()
    example = _example()
    started = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        reference = await stack.enter_async_context(single(folder / "reference", store="memory"))
        cluster = await stack.enter_async_context(CLUSTERS[name](folder))
        witness = Witness()
        before = await stack.enter_async_context(proxies(cluster.ports, witness))
        ports = [proxy.port for proxy in before]
        tally.blows.update(dict.fromkeys(cluster.blows, 0))
        first = Round(cluster.blows, numbers)
        await stack.enter_async_context(_hurting(cluster, witness, tally, first, random.Random(seed)))
        waiting = iter(numbers)

        async def live() -> None:
            for number in waiting:  # shared: each takes the next
                await first.admit(number)
                history = draw(seed, number, example)
                await _live_one(history, Client(history, ports, witness), witness, reference, tally)
                tally.seconds = time.monotonic() - started
                progress(tally)

        await asyncio.gather(*(live() for _ in range(AT_ONCE)))
        tally.statuses = witness.statuses
        tally.faults.update({fault.value: witness.faults[fault] for fault in Fault})
        if tally.wrong:
            tally.wrong.append(cluster.logs())
    return tally


async def _live_one(
    history: History, client: Client, witness: Witness, reference: Server, tally: Tally
) -> None:
    one_shots = [await one_shot(reference, life.utterance) for life in history.lives]
    try:
        await client.live()
    except TimeoutError:
        tally.wrong.append(f"history {history.number} did not come to its end in time")
    log = Log(witness.take(history.number), client.heard)
    tally.wrong += check(history, one_shots, log)
    tally.histories += 1
    tally.pieces += sum(len(life.pieces) for life in history.lives)
    tally.steps += sum(len(life.utterance) for life in history.lives)
    tally.sent += client.heard.num_sent


@contextlib.asynccontextmanager
async def _hurting(
    cluster: Cluster, witness: Witness, tally: Tally, first: Round, rng: random.Random
) -> AsyncIterator[None]:
    """Deal one blow after the other, each after a random number of replies; at the end, let all recover."""
    over = asyncio.Event()

    async def hurt() -> None:
        kinds: list[str] = []
        while True:
            due = witness.num_replies + rng.expovariate(1 / MEAN_REPLIES)
            while witness.num_replies < due and not first.holds_up(tally.histories):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), 0.01)
                if over.is_set():
                    return
            if not kinds:  # each kind as often as the others
                kinds = rng.sample(sorted(cluster.blows), len(cluster.blows))
            kind = kinds.pop()
            first.deal(kind)
            await cluster.blows[kind](rng)
            tally.blows[kind] += 1

    task = asyncio.create_task(hurt())
    try:
        yield
    finally:
        over.set()
        await task


async def one_shot(reference: Server, utterance: Array) -> list[bytes]:
    """The output at each step [classes] float32, of one request without a session to an unhurt server."""
    body = orjson.dumps({"sequences": [utterance.tolist()], "return": "all"})
    message = wire.request("POST", "/predict", {"Content-Type": "application/json"}, body)
    answer = await wire.ask(reference.port, message)
    assert answer is not None and answer.status == 200, answer
    output: Sequence[Sequence[float]] = orjson.loads(answer.body)["predictions"][0]["output"]
    return [row.tobytes() for row in np.array(output, "<f4")]


def _example() -> Array:
    """The committed model's example, [time, features]."""
    example = Manifest.read(ROOT / "models" / "vowels" / "1").example
    assert example is not None
    return np.array(example.steps)
