"""States that grow are tried empty, while they grow, and full; one that never stops is refused."""

from typing import Any

import numpy as np
import pytest

from service.errors import InternalError, StartupError
from service.repository import growth
from service.repository.examine import LONG, SHORT
from service.sequence import Batch, Chunk, Result
from tests.service.fakes import SumEngine
from tests.service.repository.test_examine import BATCHING, FOREVER, NONE, measure

ENTRIES = 12


def cache(entries: int = ENTRIES) -> dict[str, Any]:
    return {"input": "h", "output": "h_out", "shape": ["batch", entries], "dtype": "float64", "grows": 1}


class CacheEngine(SumEngine):
    """The sum of each number and of those that its cache holds: the last `entries`; None: all."""

    def __init__(self, entries: int | None = ENTRIES, most: int = ENTRIES) -> None:
        super().__init__()
        self.entries = entries
        self.most = most  # that the manifest allows
        self.sizes: set[int] = set()

    def run(self, batch: Batch) -> list[Result]:
        self.batches.append(batch)
        return [self._row(chunk) for chunk in batch.chunks]

    def _row(self, chunk: Chunk) -> Result:
        sequence, start, stop = chunk
        kept = np.asarray(sequence.state[0])
        self.sizes.add(len(kept))
        answers = []
        for x in sequence.inputs[0][start:stop, 0].astype(np.float64):
            kept = np.append(kept, np.round(x * 8) / 8)
            answers.append(self.answer(kept))
            kept = kept if self.entries is None else kept[-self.entries :]
        if len(kept) > self.most:
            raise InternalError(f"it grows beyond {self.most} entries")
        return Result(np.array(answers)[:, None], (kept,))

    def answer(self, kept: Any) -> float:
        return float(kept.sum())


def test_empty_growing_and_full_caches_are_tried() -> None:
    engine = CacheEngine()
    found = measure(engine, states=[cache()], lengths=None)
    assert (found.difference, found.max_rows) == (0.0, BATCHING.max_batch)
    assert engine.sizes >= {0, 1, SHORT, LONG, ENTRIES}
    full = [
        batch
        for batch in engine.batches
        if len(batch.chunks) > 1 and all(len(c.sequence.state[0]) == ENTRIES for c in batch.chunks)
    ]
    assert {len(batch.chunks) for batch in full} >= {2, 3, BATCHING.max_batch}, "rows of one size share calls"


@pytest.mark.parametrize("budgets", [FOREVER, NONE])
def test_a_fault_of_full_caches_alone_is_found(budgets: tuple[float, float]) -> None:
    class Forgets(CacheEngine):
        """In a call with a full cache, the first step sees nothing of it."""

        def _row(self, chunk: Chunk) -> Result:
            result = super()._row(chunk)
            if len(chunk.sequence.state[0]) == ENTRIES and chunk.steps > 1:
                result.output[0] += 1
            return result

    with pytest.raises(StartupError, match="cut in pieces it answers something else"):
        measure(Forgets(), states=[cache()], lengths=None, budgets=budgets)


def test_a_cache_may_stop_below_its_bound() -> None:
    engine = CacheEngine(entries=7, most=ENTRIES)
    assert measure(engine, states=[cache()], lengths=None).difference == 0.0
    assert max(engine.sizes) == 7


def test_a_cache_that_outgrows_its_bound_is_refused() -> None:
    with pytest.raises(StartupError, match=r"as its states grow: it grows beyond 12 entries; .*\"grows\""):
        measure(CacheEngine(entries=None), states=[cache()], lengths=None, budgets=NONE)


def test_a_cache_that_never_stops_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "MOST_STEPS", 200)
    engine = CacheEngine(entries=None, most=10**6)
    with pytest.raises(StartupError, match="a state grows without bound: 200 entries after 200 steps"):
        measure(engine, states=[cache(10**6)], lengths=None, budgets=NONE)
