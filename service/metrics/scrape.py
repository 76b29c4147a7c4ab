"""The numbers of all workers as of now: as text for Prometheus, or by model version for the API."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from service.metrics.exposition import Workers, render
from service.metrics.metrics import Metrics
from service.metrics.shadows import Comparison, comparisons
from service.metrics.totals import Totals, add_up


@dataclass(slots=True, frozen=True)
class Timed:
    """How often something happened, and how long it took together."""

    count: int = 0
    seconds: float = 0.0


class VersionTotals(NamedTuple):
    """What one version of a model has computed since the server started, in all workers."""

    success: Timed  # requests
    fail: Timed
    stages: dict[str, Timed]  # of requests: decode, queue, run, commit, encode
    calls: Timed  # of the engine
    by_sequences: dict[int, Timed]  # calls with more than half as many sequences, and at most as many
    sequences: int  # in all calls: one that is cut into chunks is in several
    steps: int
    padded_steps: int
    waiting: int  # sequences in queues, now
    last_call: float  # Unix time; 0: none

    @property
    def padding(self) -> float:
        """The share of computed steps that was padding."""
        return self.padded_steps / (self.steps + self.padded_steps) if self.steps else 0.0


class Scrape:
    """Reads the metrics of all workers."""

    def __init__(self, metrics: Metrics, sample: Callable[[], Awaitable[None]]) -> None:
        """`sample`: makes this worker's numbers those of now."""
        self._registry = metrics.registry
        self._sample = sample
        self._workers = Workers(metrics.registry.described, metrics.registry.read)

    async def text(self, accept: str) -> tuple[bytes, str]:
        """All metrics and their content type, for the value of an Accept header. Raises OSError."""
        await self._sample()
        return await asyncio.to_thread(render, self._workers, accept)

    async def versions(self) -> Callable[[str, str], VersionTotals]:
        """What each version has computed, by name and version. Raises OSError."""
        await self._sample()
        totals = await asyncio.to_thread(add_up, self._registry.described, self._registry.read)
        return lambda model, version: _version_totals(totals, (model, version))

    async def comparisons(self, model: str, shadow: str) -> list[Comparison]:
        """How a shadow version's answers differ, for each version that sessions are on. Raises OSError."""
        totals = await asyncio.to_thread(add_up, self._registry.described, self._registry.read)
        return comparisons(totals, model, shadow)


def _version_totals(totals: dict[str, Totals], version: tuple[str, str]) -> VersionTotals:
    def value(name: str) -> float:
        return totals.get(name, {}).get(version, [0.0])[-1]

    def timed(name: str, at: int) -> dict[tuple[str, ...], Timed]:
        """A histogram's series of this version, whose label is at `at`; by their other labels."""
        return {
            labels[:at] + labels[at + 2 :]: Timed(round(sum(counts)), seconds)
            for labels, (*counts, seconds) in totals.get(name, {}).items()
            if labels[at : at + 2] == version
        }

    requests = timed("cellgate_request_duration_seconds", 1)
    calls = timed("cellgate_engine_call_duration_seconds", 0)
    return VersionTotals(
        success=_sum(each for (_, _, code), each in requests.items() if code == "ok"),
        fail=_sum(each for (_, _, code), each in requests.items() if code != "ok"),
        stages={stage: each for (stage,), each in timed("cellgate_stage_duration_seconds", 1).items()},
        calls=_sum(calls.values()),
        by_sequences={int(most): each for (most,), each in sorted(calls.items(), key=lambda i: int(i[0][0]))},
        sequences=round(value("cellgate_engine_call_sequences")),
        steps=round(value("cellgate_steps")),
        padded_steps=round(value("cellgate_padded_steps")),
        waiting=round(value("cellgate_queue_sequences")),
        last_call=value("cellgate_last_call_timestamp_seconds"),
    )


def _sum(all_timed: Iterable[Timed]) -> Timed:
    together = list(all_timed)
    return Timed(sum(each.count for each in together), sum(each.seconds for each in together))
