"""A model's own example: run at every load, compared with the expected answer, and timed.

It establishes two facts before a model is called ready: that the graph gives the answer that its manifest
promises, and what an engine call costs on this machine. `service.repository.examine` finds out the rest.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.codec import request as codec
from service.engine import Batching, Cost, Outcome, Scheduler, max_batch_for, scheduler_for
from service.errors import CellgateError, StartupError
from service.manifest import MANIFEST_FILE, Example, Manifest
from service.sequence import Array, Batch, Chunk, Engine, Sequence, State
from service.state import StateLayout

MAX_STEPS = 100_000  # of an example; not a limit of the server
CALIBRATE_BATCHES, CALIBRATE_STEPS = (1, 8, 32), (1, 16)
CALIBRATE_S = 0.3  # no further size is timed after so long

Run = Callable[[Batch], Outcome]  # such as `Runner.run_in_thread`


@dataclass(slots=True, frozen=True)
class Rehearsal:
    """A loaded graph and its manifest, to be tried on the manifest's example."""

    manifest: Manifest
    initial_state: State
    folder: Path  # for messages

    def check(self, engine: Engine) -> None:
        """Run the example in one shot. A number that is not finite equals only itself, and only if allowed.

        Raises StartupError if there is no example, it cannot be run, or the answer is not the expected one.
        """
        example, inputs, state = self.read_example()
        keep_all = has_all_steps(self.manifest)
        one_shot = Sequence(inputs, state, keep_all=keep_all)
        whole = run_to_end(engine, [one_shot], one_shot_scheduler(self.manifest), self.folder)[0]
        last, expected = whole[-1] if keep_all else whole, self._expected(example)
        if last.shape == () and expected.shape == (1,):
            expected = expected[0]  # one number, written as a list
        if last.shape != expected.shape or not self._agree(np.asarray(last, np.float64), expected, example):
            raise StartupError(
                f"{self.folder}: the example gives {last.tolist()}, the manifest expects {expected.tolist()}"
            )

    def _expected(self, example: Example) -> Array:
        try:
            return np.asarray(example.output, np.float64)
        except (TypeError, ValueError) as error:
            raise StartupError(f"{self.folder}: example.output: expected numbers: {error}") from error

    def _agree(self, actual: Array, expected: Array, example: Example) -> bool:
        allows_nan = self.manifest.non_finite == "allow"
        return np.allclose(actual, expected, rtol=0.0, atol=example.tolerance, equal_nan=allows_nan)

    def calibrate(self, cost: Cost, run: Run) -> None:
        """Time calls of a few sizes for the cost model, so that the first requests are scheduled well too."""
        axes = self.manifest.axes
        if not self.manifest.chunkable or axes.time is None or axes.time_size is not None:
            return
        _, inputs, _ = self.read_example()
        bounds = Batching(max_batch=max(CALIBRATE_BATCHES), chunk_steps=MAX_STEPS, max_waiting=1)
        max_batch = max_batch_for(self.manifest, bounds)
        deadline = time.perf_counter() + CALIBRATE_S
        for steps in CALIBRATE_STEPS:
            for rows in (rows for rows in CALIBRATE_BATCHES if rows <= max_batch):
                cost.observe(rows, steps, self._time(run, rows, _tile(inputs, steps), num_trials=1))
                if time.perf_counter() > deadline:
                    return

    def seconds(self, run: Run, rows: int, steps: int, *, num_trials: int = 3) -> float:
        """The least seconds that a call of so many rows and steps takes. Raises StartupError if it fails."""
        _, inputs, _ = self.read_example()
        return self._time(run, rows, _tile(inputs, steps), num_trials=num_trials)

    def read_example(self) -> tuple[Example, tuple[Array, ...], State]:
        """The example; its inputs with steps, each [time, *dims]; and the state before its first step."""
        if self.manifest.example is None:
            raise StartupError(
                f"{self.folder / MANIFEST_FILE}: an example is needed: steps and expected output"
            )
        document = codec.Document([{"steps": self.manifest.example.steps}])
        try:
            item = codec.decode_item(document, 0, self.manifest, max_steps=MAX_STEPS)
        except CellgateError as error:
            raise StartupError(f"{self.folder}: the example cannot be read: {error.detail}") from error
        return self.manifest.example, item.inputs, self._state_before(item.kept)

    def _state_before(self, kept: tuple[Array | None, ...]) -> State:
        """The initial state, with the example's values of inputs without a time axis."""
        specs = self.manifest.sequence_inputs
        missing = [spec.name for spec, value in zip(specs, kept, strict=True) if value is None]
        if missing:
            raise StartupError(f"{self.folder}: the example has no value of {', '.join(missing)}")
        values = {spec.name: value for spec, value in zip(specs, kept, strict=True) if value is not None}
        layout = StateLayout.of(self.manifest)
        return layout.with_values(self.initial_state, values) if values else self.initial_state

    def _time(self, run: Run, rows: int, inputs: tuple[Array, ...], *, num_trials: int) -> float:
        steps, least = len(inputs[0]), math.inf
        batch = Batch([Chunk(Sequence(inputs, self.initial_state), 0, steps) for _ in range(rows)])
        for number in range(num_trials + 1):
            results, seconds = run(batch)
            if isinstance(results, Exception):
                raise _failure(self.folder, results) from results
            if number:  # the first call of a size allocates memory, and does not count
                least = min(least, seconds)
        return least


def run_to_end(engine: Engine, sequences: list[Sequence], scheduler: Scheduler, folder: Path) -> list[Array]:
    """The outputs of all sequences. Raises StartupError, which names `folder`, if the engine fails."""
    for sequence in sequences:
        scheduler.add(sequence)
    try:
        while batch := scheduler.schedule(0.0):
            scheduler.commit(batch, engine.run(batch))
        return [sequence.output() for sequence in sequences]
    except Exception as error:
        raise _failure(folder, error) from error


def one_shot_scheduler(manifest: Manifest) -> Scheduler:
    """A scheduler that runs one sequence at a time, in as few calls as the graph allows."""
    return scheduler_for(manifest, Batching(max_batch=1, chunk_steps=MAX_STEPS, max_waiting=1))


def has_all_steps(manifest: Manifest) -> bool:
    """Whether the graph's first output has every time step, not only the last."""
    return manifest.outputs[0].steps == "all"


def _failure(folder: Path, error: Exception) -> StartupError:
    return StartupError(f"{folder}: the graph fails on its example: {error}")


def _tile(inputs: tuple[Array, ...], steps: int) -> tuple[Array, ...]:
    return tuple(np.resize(x, (steps, *x.shape[1:])) for x in inputs)
