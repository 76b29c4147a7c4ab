"""Stand-ins for engines, with arithmetic that shows leaks."""

import threading
from collections.abc import Iterable
from collections.abc import Sequence as Items
from pathlib import Path

import numpy as np

from service.engine import Cost, GraphContent, OnnxEngine, Optimization, Provider
from service.manifest import Manifest
from service.sequence import NO_ORIGIN, Array, Batch, Origin, Result, Sequence, State
from service.state import StateLayout


class SumEngine:
    """state = running sum of the inputs: a lost, doubled or swapped step is a wrong number.

    It also checks that every batch keeps the scheduler's promises.
    """

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.fail_on: float | None = None  # raise when a batch holds this number
        self.gate: threading.Event | None = None  # wait for it in every call
        self.entered = threading.Event()

    def run(self, batch: Batch) -> list[Result]:
        self.entered.set()
        if self.gate is not None:
            assert self.gate.wait(60)
        sequences = [chunk.sequence for chunk in batch.chunks]
        assert len(set(map(id, sequences))) == len(sequences), "a sequence is in the batch twice"
        assert all(chunk.steps > 0 and chunk.start == chunk.sequence.done for chunk in batch.chunks)
        self.batches.append(batch)
        return [self._step(chunk.sequence, chunk.start, chunk.stop) for chunk in batch.chunks]

    def _step(self, sequence: Sequence, start: int, stop: int) -> Result:
        x = sequence.inputs[0][start:stop]
        if self.fail_on is not None and (x == self.fail_on).any():
            raise RuntimeError("boom")
        y = sequence.state[0] + np.cumsum(x, axis=0)  # [steps, 1]
        return Result(y if sequence.keep_all else y[-1:], (y[-1],))


class WrappedEngine:
    """An `OnnxEngine`, opened as usual, for tests that replace its answers."""

    def __init__(
        self,
        graph: Path,
        manifest: Manifest,
        *,
        provider: Provider,
        threads: int = 1,
        helper_cpus: Items[int] = (),
        content: GraphContent | None = None,
        optimization: Optimization = "all",
    ) -> None:
        self.has_helper = bool(helper_cpus)  # a thread on a second core
        self.wrapped = OnnxEngine(
            graph,
            manifest,
            provider=provider,
            threads=threads,
            helper_cpus=helper_cpus,
            content=content,
            optimization=optimization,
        )

    @property
    def layout(self) -> StateLayout:
        return self.wrapped.layout

    @property
    def initial_state(self) -> State:
        return self.wrapped.initial_state

    @property
    def provider(self) -> str:
        return self.wrapped.provider

    @property
    def output_dtype(self) -> str:
        return self.wrapped.output_dtype

    @property
    def output_dtypes(self) -> tuple[str, ...]:
        return self.wrapped.output_dtypes

    def resume(self, key: bytes, revision: bytes, packed: bytes) -> State:
        return self.wrapped.resume(key, revision, packed)

    def keep(self, key: bytes, revision: bytes, state: State) -> None:
        self.wrapped.keep(key, revision, state)

    def run(self, batch: Batch) -> list[Result]:
        return self.wrapped.run(batch)


def sequence_of(values: Array | list[float], *, keep_all: bool = False, deadline: float = np.inf) -> Sequence:
    x = np.asarray(values, np.float64).reshape(-1, 1)  # [time, 1]
    origin = NO_ORIGIN if deadline == np.inf else Origin(deadline=deadline)
    return Sequence((x,), (np.zeros(1),), keep_all=keep_all, origin=origin)


def ones(steps: int, value: float = 1.0) -> Sequence:
    return sequence_of([value] * steps)


def total(sequence: Sequence) -> float:
    """The sum of the steps consumed so far."""
    return float(sequence.state[0][0])


def learn(cost: Cost, observations: Iterable[tuple[int, int, float]]) -> None:
    """Observe many calls: rows, steps, seconds."""
    for observation in observations:
        cost.observe(*observation)


def cost_of(call: float, step: float, row: float) -> Cost:
    """A cost model that has learnt these coefficients (s)."""
    cost = Cost()
    sizes = [(batch, steps) for batch in (1, 4, 16, 64) for steps in (1, 8, 64)]
    learn(cost, ((batch, steps, call + steps * (step + batch * row)) for batch, steps in sizes))
    return cost


def of_origin(origin: Origin, steps: int = 1) -> Sequence:
    sequence = ones(steps)
    sequence.origin = origin
    return sequence
