"""A model's own example: run at every load, held against the expected answer, cut and batched, and timed.

It tells three things before a model is called ready: that the graph says what its manifest promises,
whether batching and chunking change a bit, and what an engine call costs on this machine.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.codec import request as codec
from service.engine.cost import Cost
from service.engine.onnx import OnnxEngine
from service.engine.scheduler import Scheduler
from service.errors import CellgateError, StartupError
from service.manifest import MANIFEST_FILE, Example, Manifest
from service.sequence import Array, Batch, Chunk, Engine, Sequence, State

MAX_STEPS = 100_000  # a bound for the codec; an example is the model's own
CALIBRATE_BATCHES, CALIBRATE_STEPS = (1, 8, 32), (1, 16)
CALIBRATE_S = 0.3
TRIALS = 3


@dataclass(slots=True, frozen=True)
class Batching:
    """The bounds under which every model is batched, and the time that one engine call should take."""

    max_batch: int
    chunk_steps: int
    max_waiting: int
    max_wait_s: float = math.inf
    target_s: float = math.inf
    inline_s: float = math.inf  # a call expected to take longer runs in the worker's thread


def scheduler_for(
    manifest: Manifest, batching: Batching, cost: Cost | None = None, *, ragged: bool = True
) -> Scheduler:
    """A scheduler within what the graph can take. `ragged` false: rows of a batch shall be equally long."""
    axes = manifest.axes
    ragged = ragged and manifest.lengths is not None
    has_batch = axes.batch is not None and all(state.batch_axis is not None for state in manifest.states)
    # Without lengths a long row is cut where the shortest ends; one that must not be cut goes alone.
    can_mix = manifest.chunkable or ragged
    size = axes.batch_size or (batching.max_batch if has_batch else 1)
    return Scheduler(
        max_batch=size if can_mix else 1,
        chunk_steps=1 if axes.time is None else batching.chunk_steps if manifest.chunkable else sys.maxsize,
        max_waiting=batching.max_waiting,
        ragged=ragged,
        cuts=manifest.chunkable,
        cost=cost,
        target_s=batching.target_s,
        max_wait_s=batching.max_wait_s,
    )


@dataclass(slots=True, frozen=True)
class Rehearsal:
    """A loaded graph and its manifest, about to prove themselves on the example."""

    manifest: Manifest
    engine: Engine
    zero: State
    folder: Path  # for messages
    turn: Callable[[int], AbstractContextManager[object]] = nullcontext  # of a timed call of so many rows

    def check(self, *, ragged: bool = True) -> float:
        """Run the example in one shot, then in batches and chunks, ragged ones or all rows equally long.

        Returns the max abs difference that batching and chunking make.
        Raises StartupError when there is no example, it cannot be run, or the answer is not the expected one.
        """
        example, inputs = self._read()
        keep_all = _keeps_all(self.manifest)
        one_shot = Sequence(inputs, self.zero, keep_all=keep_all)
        whole = _run(self.engine, [one_shot], _one_shot(self.manifest), self.folder)[0]
        last, expected = whole[-1] if keep_all else whole, np.asarray(example.output, np.float64)
        if last.shape != expected.shape or np.abs(last - expected).max(initial=0) > example.tolerance:
            raise StartupError(
                f"{self.folder}: the example gives {last.tolist()}, the manifest expects {expected.tolist()}"
            )
        return self._difference(inputs, whole, ragged) if self.manifest.chunkable and keep_all else 0.0

    def calibrate(self, cost: Cost) -> None:
        """Teach the cost model a few sizes of call, so that the first requests are scheduled well too."""
        if not self.manifest.chunkable or self.manifest.axes.time is None:
            return
        _, inputs = self._read()
        bounds = Batching(max(CALIBRATE_BATCHES), MAX_STEPS, 1)
        max_batch = scheduler_for(self.manifest, bounds).max_batch
        deadline = time.perf_counter() + CALIBRATE_S
        for steps in CALIBRATE_STEPS:
            for rows in (rows for rows in CALIBRATE_BATCHES if rows <= max_batch):
                cost.observe(rows, steps, self._time(rows, _tile(inputs, steps), trials=1))
                if time.perf_counter() > deadline:
                    return

    def seconds(self, rows: int, steps: int) -> float:
        """What a call of so many rows and steps takes at its best. Raises StartupError."""
        _, inputs = self._read()
        return self._time(rows, _tile(inputs, steps), trials=TRIALS)

    def _read(self) -> tuple[Example, tuple[Array, ...]]:
        """The example and its inputs, each [time, *dims]."""
        if self.manifest.example is None:
            raise StartupError(
                f"{self.folder / MANIFEST_FILE}: an example is needed: steps and expected output"
            )
        document = codec.Document([{"steps": self.manifest.example.steps}])
        try:
            return self.manifest.example, codec.decode_item(
                document, 0, self.manifest, max_steps=MAX_STEPS
            ).inputs
        except CellgateError as error:
            raise StartupError(f"{self.folder}: the example cannot be read: {error.detail}") from error

    def _difference(self, inputs: tuple[Array, ...], whole: Array, ragged: bool) -> float:
        """Prefixes of the example, together and in pieces of three, against the one-shot run."""
        total = len(whole)
        lengths = sorted({total, max(1, total // 2), max(1, total // 3), 1}, reverse=True)
        sequences = [Sequence(tuple(x[:n] for x in inputs), self.zero, keep_all=True) for n in lengths]
        bounds = Batching(max_batch=len(lengths), chunk_steps=3, max_waiting=len(lengths))
        scheduler = scheduler_for(self.manifest, bounds, ragged=ragged)
        outputs = _run(self.engine, sequences, scheduler, self.folder)
        return max(float(np.abs(y - whole[: len(y)]).max()) for y in outputs)

    def _time(self, rows: int, inputs: tuple[Array, ...], *, trials: int) -> float:
        steps = len(inputs[0])
        batch = Batch([Chunk(Sequence(inputs, self.zero), 0, steps) for _ in range(rows)])
        seconds = math.inf
        with _telling(self.folder):
            self.engine.run(batch)  # the first call of a size allocates
            for _ in range(trials):
                with self.turn(rows):  # one at a time: requests go on meanwhile
                    started = time.perf_counter()
                    self.engine.run(batch)
                    seconds = min(seconds, time.perf_counter() - started)
        return seconds


def _tile(inputs: tuple[Array, ...], steps: int) -> tuple[Array, ...]:
    return tuple(np.resize(x, (steps, *x.shape[1:])) for x in inputs)


def _one_shot(manifest: Manifest) -> Scheduler:
    return scheduler_for(manifest, Batching(max_batch=1, chunk_steps=MAX_STEPS, max_waiting=1))


def _run(engine: Engine, sequences: list[Sequence], scheduler: Scheduler, folder: Path) -> list[Array]:
    for sequence in sequences:
        scheduler.add(sequence)
    with _telling(folder):
        while batch := scheduler.schedule(0.0):
            scheduler.commit(batch, engine.run(batch))
    return [sequence.output() for sequence in sequences]


@contextmanager
def _telling(folder: Path) -> Iterator[None]:
    """Whatever an engine raises as an error of ours."""
    try:
        yield
    except Exception as error:
        raise StartupError(f"{folder}: the graph fails on its example: {error}") from error


def _keeps_all(manifest: Manifest) -> bool:
    return manifest.outputs[0].steps == "all"


def with_example(graph: Path, manifest: Manifest, steps: int = 5) -> Manifest:
    """Add an example to a proposed manifest: small made-up numbers, and what the graph answers to them.

    Raises StartupError when the graph does not run as the manifest says.
    """
    engine = OnnxEngine(graph, manifest, provider="cpu")
    inputs = tuple(_made_up(spec.dims, spec.dtype, steps) for spec in manifest.inputs)
    sequence = Sequence(inputs, engine.initial_state, keep_all=_keeps_all(manifest))
    output = _run(engine, [sequence], _one_shot(manifest), graph)[0]
    rows = [array.tolist() for array in inputs]
    example = Example(
        steps=rows[0] if len(rows) == 1 else dict(zip((s.name for s in manifest.inputs), rows, strict=True)),
        output=(output[-1] if _keeps_all(manifest) else output).tolist(),
    )
    return manifest.model_copy(update={"example": example})


def _made_up(dims: tuple[int, ...], dtype: str, steps: int) -> Array:
    count = steps * math.prod(dims)
    made: Array = (np.arange(count) % 7 / 8 if dtype.startswith("float") else np.arange(count) % 2).astype(
        dtype
    )
    return made.reshape(steps, *dims)
