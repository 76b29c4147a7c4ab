"""Runs trial sequences through the engine and the scheduler: alone, in pieces, or together.

It judges nothing; `service.repository.examine` compares the answers.
"""

from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from functools import reduce
from itertools import zip_longest
from operator import or_
from typing import NamedTuple

import numpy as np

from service.engine import Batching, Scheduler, scheduler_for
from service.manifest import Manifest
from service.repository.compare import Difference, compare, is_flip
from service.repository.values import Kind, invent
from service.sequence import Array, Engine, Sequence, State

MAX_STEPS = 100_000  # of one call; not a limit of the server


class Answer(NamedTuple):
    """What a sequence gives."""

    outputs: tuple[Array, ...]  # each [time, *dims], or [1, *dims] if the graph keeps only the last step
    state: State

    def last(self) -> "Answer":
        """Only the last step of every output."""
        return Answer(tuple(y[-1:] for y in self.outputs), self.state)


@dataclass(slots=True)
class Row:
    """Steps, and the state before them."""

    inputs: tuple[Array, ...]  # one per input with steps, each [time, *dims]
    state: State
    alone: dict[int, Answer] = field(default_factory=dict)  # what the first steps give, by their number

    @property
    def steps(self) -> int:
        """Time steps in all."""
        return len(self.inputs[0])

    def part(self, start: int, stop: int, state: State) -> "Row":
        """Some of the steps, after another state."""
        return Row(tuple(x[start:stop] for x in self.inputs), state)

    def first(self, steps: int) -> "Row":
        """The first steps."""
        return self.part(0, steps, self.state)


class RowSource:
    """Makes rows of random values, like those of the example."""

    def __init__(self, manifest: Manifest, example: tuple[Array, ...], initial_state: State) -> None:
        """`example`: one per input with steps, each [time, *dims]."""
        self._manifest = manifest
        self._example = example
        self._initial_state = initial_state
        self._random = np.random.default_rng(0)

    def new(self, kind: Kind, steps: int, state: State | None = None) -> Row:
        """A row of a kind; `state`: before its first step, if not the initial one."""
        random, specs = self._random, self._manifest.step_inputs
        pairs = zip(specs, self._example, strict=True)
        inputs = [invent(spec, x, steps, kind, random) for spec, x in pairs]
        kept = list(self._initial_state if state is None else state)
        for index, spec in enumerate(self._manifest.kept_inputs, len(self._manifest.states)):
            if spec.per == "sequence" and kind != "example":
                kept[index] = invent(spec, np.asarray(kept[index])[np.newaxis], 1, kind, random)[0]
        return Row(tuple(inputs), tuple(kept))


class Bench:
    """Runs rows through an engine, and compares their answers."""

    def __init__(self, manifest: Manifest, engine: Engine) -> None:
        self.manifest = manifest
        self._engine = engine
        self._extra = tuple(range(1, len(manifest.outputs)))
        # By output: whether it has every step.
        self.has_all = [spec.steps == "all" or manifest.axes.time is None for spec in manifest.outputs]
        self._names = [f"output {spec.name!r}" for spec in manifest.outputs]
        self._names += [f"state {spec.input!r}" for spec in manifest.states]
        self._names += [f"what is kept of input {spec.name!r}" for spec in manifest.kept_inputs]
        self._names += ["the time of the last step"] if manifest.keeps_time else []

    def alone(self, row: Row, steps: int) -> Answer:
        """What the first steps of a row give by themselves, in one call where the graph allows it."""
        if steps not in row.alone:
            row.alone[steps] = self.run([row.first(steps)], max_batch=1)[0]
        return row.alone[steps]

    def computes(self, row: Row, steps: int | None = None) -> bool:
        """Whether the graph answers a row. It may refuse numbers and lengths outside its domain."""
        try:
            self.alone(row, steps or row.steps)
        except Exception:  # noqa: BLE001
            return False
        return True

    def run(
        self,
        rows: Items[Row],
        *,
        max_batch: int | None = None,
        chunk_steps: int = MAX_STEPS,
        ragged: bool = True,
    ) -> list[Answer]:
        """The answers of rows that arrive together, cut and batched as the scheduler does it."""
        bounds = Batching(max_batch=max_batch or len(rows), chunk_steps=chunk_steps, max_waiting=len(rows))
        return self._schedule(rows, scheduler_for(self.manifest, bounds, ragged=ragged))

    def at_once(self, rows: Items[Row]) -> list[Answer]:
        """The answers of rows of one length in one call, even where the server would not batch them."""
        bounds = Batching(max_batch=len(rows), chunk_steps=MAX_STEPS, max_waiting=len(rows))
        scheduler = scheduler_for(self.manifest, bounds)
        scheduler.max_batch = len(rows)
        return self._schedule(rows, scheduler)

    def in_pieces(self, row: Row, ends: Items[int]) -> Answer:
        """The answer of a row that arrives in pieces, each alone; `ends` of them, the last is the row's."""
        state, pieces = row.state, []
        for start, stop in zip((0, *ends), ends, strict=False):
            pieces.append(self.run([row.part(start, stop, state)], max_batch=1)[0])
            state = pieces[-1].state
        outputs = [
            np.concatenate([piece.outputs[index] for piece in pieces])
            if has_all
            else pieces[-1].outputs[index]
            for index, has_all in enumerate(self.has_all)
        ]
        return Answer(tuple(outputs), state)

    def compare(self, actual: Answer, expected: Answer) -> Difference:
        """The largest difference in an output or a state.

        Where floats are rounded otherwise, an integer output may differ too: it does not count as relative.
        """
        pairs = zip(actual.outputs + actual.state, expected.outputs + expected.state, strict=True)
        found = [compare(name, a, b) for name, (a, b) in zip(self._names, pairs, strict=True)]
        worst = reduce(or_, found, Difference())
        flips = [is_flip(a, b) for a, b in zip(actual.outputs, expected.outputs, strict=True)]
        others = [each for each, flip in zip_longest(found, flips) if not flip]
        rounded = reduce(or_, others, Difference())
        return Difference(worst.absolute, rounded.relative, rounded.tensor) if rounded.absolute else worst

    def compare_first(self, changed: Row, row: Row, steps: int) -> Difference:
        """The difference in the outputs of the first steps, of two rows that differ behind them.

        It is relative to the largest number of the whole answer, as rounding is. What has only the last step
        is not compared.
        """
        after, before = (self.alone(each, each.steps).outputs for each in (changed, row))
        is_long = [has_all and len(y) > steps for has_all, y in zip(self.has_all, before, strict=True)]
        expected = [
            np.concatenate([b[:steps], a[steps:]]) if has else a
            for has, a, b in zip(is_long, after, before, strict=True)
        ]
        return self.compare(Answer(after, row.state), Answer(tuple(expected), row.state))

    def _schedule(self, rows: Items[Row], scheduler: Scheduler) -> list[Answer]:
        sequences = [Sequence(row.inputs, row.state, keep_all=True, extra=self._extra) for row in rows]
        for sequence in sequences:
            scheduler.add(sequence)
        while batch := scheduler.schedule(0.0):
            scheduler.commit(batch, self._engine.run(batch))
        for sequence in sequences:
            if sequence.error is not None:
                raise sequence.error
        return [self._answer(sequence) for sequence in sequences]

    def _answer(self, sequence: Sequence) -> Answer:
        outputs = [sequence.output(index) for index in range(len(self.manifest.outputs))]
        last = [y if has_all else y[-1:] for y, has_all in zip(outputs, self.has_all, strict=True)]
        return Answer(tuple(last), sequence.state)
