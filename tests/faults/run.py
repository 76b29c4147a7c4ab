"""One run: so many histories against one kind of cluster, all at once, while it is haunted."""

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.faults.cluster import Cluster
from tests.faults.histories import Client, Plan

AT_ONCE = 24  # clients
KINDS = ("lmdb", "redis")


@dataclass
class Tally:
    """What a run has seen."""

    histories: int = 0
    steps: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    mishaps: Counter[str] = field(default_factory=Counter)
    disasters: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        told = [f"{self.histories} histories, {self.steps} steps"]
        for name in ("answers", "mishaps", "disasters"):
            counts: Counter[str] = getattr(self, name)
            told.append(
                f"{name}: " + ", ".join(f"{count} {what or 'none'}" for what, count in sorted(counts.items()))
            )
        return "; ".join(told)


def run(
    kind: str,
    seed: int,
    histories: int,
    *,
    rate: float = 0.2,
    report: Callable[[Tally], None] = lambda _: None,
) -> Tally:
    """Raises Violation at the first promise that does not hold."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        return asyncio.run(_run(Path(folder), kind, seed, histories, rate, report))


async def _run(
    folder: Path, kind: str, seed: int, histories: int, rate: float, report: Callable[[Tally], None]
) -> Tally:
    rng = random.Random(f"{kind}-{seed}")
    plans = [Plan.draw(f"s{number}", rng) for number in range(histories)]
    cluster = Cluster(folder, rng, kind=kind, rate=rate)
    tally, over = Tally(), asyncio.Event()
    await cluster.start()
    haunting = asyncio.create_task(cluster.haunt(over))
    limits = httpx.Limits(max_connections=4 * AT_ONCE, max_keepalive_connections=AT_ONCE)
    try:
        async with httpx.AsyncClient(timeout=20, limits=limits, trust_env=False) as http:
            urls = [f"http://127.0.0.1:{proxy.port}" for proxy in cluster.proxies]
            waiting = iter(plans)
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    client = Client(http, urls, random.Random(rng.random()), tally.answers)
                    group.create_task(_live(client, waiting, cluster.reference.url, tally, report))
    finally:
        over.set()
        await haunting
        await cluster.stop()
    for proxy in cluster.proxies:
        tally.mishaps += proxy.mishaps
    tally.disasters = cluster.disasters
    return tally


async def _live(
    client: Client, waiting: Iterator[Plan], reference: str, tally: Tally, report: Callable[[Tally], None]
) -> None:
    for plan in waiting:
        log = await client.live(plan)
        log.check(await client.one_shot(reference, plan))
        tally.histories += 1
        tally.steps += len(plan.rows)
        report(tally)


def seed_of_now() -> int:
    """A seed for those who have none."""
    return time.time_ns() % 1_000_000
