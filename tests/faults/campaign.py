"""Runs hundreds of histories at once against a cluster under faults; each is checked when it has ended."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import orjson

from cellgate import CellgateError
from service.manifest import Manifest
from service.sequence import Array
from tests.committed import committed_models
from tests.e2e.server import Server
from tests.faults import wire
from tests.faults.checker import Log, check
from tests.faults.client import Client
from tests.faults.cluster import Cluster, lmdb_cluster, redis_cluster, single
from tests.faults.cutter import cutting
from tests.faults.drivers.base import Network, WrongAnswerError
from tests.faults.history import DriverName, Fault, History, draw
from tests.faults.proxy import proxies
from tests.faults.witness import Witness

CLUSTERS = {"lmdb": lmdb_cluster, "redis": redis_cluster}
CONCURRENCY = 200  # histories
MEAN_REPLIES = 600  # between two outages


class Round:
    """The first outage of each kind. The second half of the histories waits until each kind has begun.

    So every kind occurs even on a fast machine.
    """

    def __init__(self, kinds: Iterable[str], numbers: range) -> None:
        self._missing = set(kinds)
        self._num_first = len(numbers) // 2
        self._second = numbers.start + self._num_first
        self._is_complete = asyncio.Event()

    def begin(self, kind: str) -> None:
        """An outage begins."""
        self._missing.discard(kind)
        if not self._missing:
            self._is_complete.set()

    def give_up(self) -> None:
        """No further outage begins."""
        self._is_complete.set()

    def blocks(self, num_ended: int) -> bool:
        """Whether histories wait, because the first half has ended."""
        return bool(self._missing) and num_ended >= self._num_first

    async def admit(self, number: int) -> None:
        """Wait until that history may begin."""
        if number >= self._second:
            await self._is_complete.wait()


@dataclass
class Tally:
    """Counts of a campaign, and the violations found."""

    histories: int = 0
    pieces: int = 0
    sent: int = 0
    steps: int = 0
    statuses: Counter[int] = field(default_factory=Counter)  # of the servers' replies
    drivers: Counter[str] = field(default_factory=Counter)  # histories of each
    faults: Counter[str] = field(default_factory=Counter)  # of requests
    cuts: Counter[str] = field(default_factory=Counter)  # of connections, at any byte
    outages: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        kinds = (self.outages, self.drivers, self.faults, self.cuts, self.statuses)
        lines = ["; ".join(f"{name} {count:,}" for name, count in sorted(kind.items())) for kind in kinds]
        return (
            f"{self.histories:,} histories, {self.pieces:,} pieces, {self.steps:,} steps, "
            f"{self.sent:,} requests and frames in {self.seconds:.0f} s; {len(self.violations)} violations\n"
            f"  {lines[0]}\n  drivers: {lines[1]}\n  per request: {lines[2]}\n  cuts: {lines[3]}\n"
            f"  replies: {lines[4]}"
        )


async def run(
    name: str,
    folder: Path,
    *,
    seed: int,
    numbers: range,
    drivers: Sequence[DriverName] = tuple(DriverName),
    progress: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Run histories `numbers` of `seed` on the named cluster. Raises only if the cluster itself fails."""
    tally = Tally()
    example = _example()
    started = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        reference = await stack.enter_async_context(single(folder / "reference", store="memory"))
        cluster = await stack.enter_async_context(CLUSTERS[name](folder))
        witness = Witness()
        network = await _network(stack, cluster, witness, random.Random(seed))
        tally.outages.update(dict.fromkeys(cluster.outages, 0))
        first = Round(cluster.outages, numbers)
        await stack.enter_async_context(_outages(cluster, witness, tally, first, random.Random(seed)))
        waiting = iter(numbers)

        async def run_histories() -> None:
            for number in waiting:  # shared: each task takes the next one
                await first.admit(number)
                history = draw(seed, number, example, drivers)
                await _run_one(history, network, reference, tally)
                tally.seconds = time.monotonic() - started
                progress(tally)

        await asyncio.gather(*(run_histories() for _ in range(CONCURRENCY)))
        tally.statuses = witness.statuses
        tally.faults.update({fault.value: witness.faults[fault] for fault in Fault})
        tally.cuts.update({f"towards the {side}": num for side, num in network.cutter.cuts.items()})
        if tally.violations:
            tally.violations.append(cluster.logs())
    return tally


async def _network(
    stack: contextlib.AsyncExitStack, cluster: Cluster, witness: Witness, rng: random.Random
) -> Network:
    """The proxies in front of the cluster, started."""
    fronts = await stack.enter_async_context(proxies(cluster.ports, witness))
    cutter = await stack.enter_async_context(cutting(cluster.ports, rng))
    limits = httpx.Limits(max_connections=CONCURRENCY)
    transport = await stack.enter_async_context(httpx.AsyncHTTPTransport(limits=limits))
    return Network([proxy.port for proxy in fronts], cutter, witness, transport)


async def _run_one(history: History, network: Network, reference: Server, tally: Tally) -> None:
    one_shots = [await one_shot(reference, life.utterance) for life in history.lives]
    client = Client(history, network)
    try:
        await client.run()
    except TimeoutError:
        tally.violations.append(f"history {history.number} ({history.driver}) got no answer in time")
    except (WrongAnswerError, CellgateError) as error:
        tally.violations.append(
            f"history {history.number} ({history.driver}): {type(error).__name__}: {error}"
        )
    log = Log(network.witness.take(history.number), client.received)
    tally.violations += check(history, one_shots, log)
    tally.histories += 1
    tally.drivers[history.driver] += 1
    tally.pieces += sum(len(life.pieces) for life in history.lives)
    tally.steps += sum(len(life.utterance) for life in history.lives)
    tally.sent += client.received.num_sent


@contextlib.asynccontextmanager
async def _outages(
    cluster: Cluster, witness: Witness, tally: Tally, first: Round, rng: random.Random
) -> AsyncIterator[None]:
    """Cause one outage after another, each after a random number of replies; at the end, await recovery."""
    is_over = asyncio.Event()

    async def cause() -> None:
        kinds: list[str] = []
        while True:
            due = witness.num_replies + rng.expovariate(1 / MEAN_REPLIES)
            while witness.num_replies < due and not first.blocks(tally.histories):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(is_over.wait(), 0.01)
                if is_over.is_set():
                    return
            if not kinds:  # each kind as often as the others
                kinds = rng.sample(sorted(cluster.outages), len(cluster.outages))
            kind = kinds.pop()
            first.begin(kind)
            await cluster.outages[kind](rng)
            tally.outages[kind] += 1

    task = asyncio.create_task(cause())
    task.add_done_callback(lambda _: first.give_up())
    try:
        yield
    finally:
        is_over.set()
        await task


async def one_shot(reference: Server, utterance: Array) -> list[bytes]:
    """Output of each step, [classes] float32: one request without a session to a server without faults."""
    body = orjson.dumps({"sequences": [utterance.tolist()], "return": "all"})
    message = wire.request("POST", "/predict", {"Content-Type": "application/json"}, body)
    while (answer := await wire.send(reference.port, message)) is not None and answer.status == 503:
        await asyncio.sleep(0.1)  # it has too much to do
    assert answer is not None and answer.status == 200, answer
    output: Sequence[Sequence[float]] = orjson.loads(answer.body)["predictions"][0]["output"]
    return [row.tobytes() for row in np.array(output, "<f4")]


def _example() -> Array:
    """The committed model's example, [time, features]."""
    example = Manifest.read(committed_models() / "vowels" / "1").example
    assert example is not None
    return np.array(example.steps)
