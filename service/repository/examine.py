"""Examines a graph at every load: whether its answer depends on how sequences are cut and batched.

The same steps are computed alone and whole, then cut, beside neighbours, and in ragged batches, through the
real engine and scheduler. What the manifest claims and the graph does not do is refused; the differences that
remain are those of rounding.

    alone       x[0:1], x[0:2], … x[0:n]      each in one call, where the graph allows it
    cut         x[0:k] | x[k:n]               for every k; and one step at a time
    ahead       x[0:k] before other steps     the first k answers stay the same
    together    rows of other values, states and lengths; up to the most rows that a call may have

This is done with the example's own values, with small and with large random ones, from the initial state and
from one that other steps have reached. What it cannot find: a graph that behaves otherwise only with values
or at lengths that were not tried; in a graph of one step a call, states that are paired wrongly, since such
a graph cannot be run whole; a wrong constant or order of features, unless it changes the example's answer.
After `budget_s` only essential trials are made, so a slow graph is tried at fewer sizes. No call of the
server has more rows than were tried.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path

from service.engine import Batching
from service.manifest import Manifest
from service.repository.compare import QUANTIZED, Difference
from service.repository.findings import CUT_HINT, LENGTHS_HINT, ROWS_HINT, Findings, Measurement
from service.repository.growth import fill
from service.repository.rows import Answer, Bench, Row, RowSource
from service.repository.strangers import INFLUENCE, try_ahead, try_neighbours
from service.repository.values import KINDS, Kind
from service.sequence import Array, Engine, State

SHORT, LONG = 5, 9  # steps, or as many times the steps of one call where the graph fixes them
ROWS = 5, 8, 17  # of a call, beside 2, 3 and the most
CUT_STEPS = 3  # of the chunks of ragged batches
MANY_CHUNKS = 3  # of the longest sequence that is tried
BUDGET_S = 0.1  # of CPU time, so that a busy machine is not less thorough
ESSENTIAL_KINDS = 2  # of values
MANY_ROWS_S = 0.5  # of CPU time: for one call of as many rows as possible of a slow graph


@dataclass(slots=True, frozen=True)
class Examination:
    """A graph that answers its example, to be tried in every way in which the server will run it."""

    manifest: Manifest
    initial_state: State
    folder: Path  # for messages
    example: tuple[Array, ...]  # one per input with steps, each [time, *dims]
    batching: Batching
    rounding: float  # the largest relative difference that is not another answer; see `compare.rounding`
    budget_s: float = BUDGET_S
    many_rows_s: float = MANY_ROWS_S

    @property
    def most_rows(self) -> int:
        """The most rows that the graph itself takes in a call, whether or not the server batches it."""
        manifest, max_batch = self.manifest, self.batching.max_batch
        has_batch = manifest.axes.batch is not None and all(s.batch_axis is not None for s in manifest.states)
        return min(max_batch, manifest.axes.batch_size or max_batch) if has_batch else 1

    def measure(self, engine: Engine) -> Measurement:
        """Try the graph. Raises StartupError if it does not do what the manifest says."""
        return _Trials(self, engine).measure()


class _Trials:
    """One examination under way."""

    def __init__(self, examination: Examination, engine: Engine) -> None:
        self._examination = examination
        self._manifest = examination.manifest
        self._bench = Bench(self._manifest, engine)
        self._findings = Findings(self._manifest, self._bench, examination.folder, examination.rounding)
        self._source = RowSource(self._manifest, examination.example, examination.initial_state)
        self._ragged = self._manifest.lengths is not None
        self._unit = self._manifest.step_multiple
        self._short, self._long = SHORT * self._unit, LONG * self._unit
        self._max_rows = examination.most_rows
        self._started = time.thread_time()
        self._rows: dict[Kind, Row] = {}  # [long] steps each
        self._alike: dict[Kind, Row] = {}  # the same, with states of one size
        self._tried_rows = 1  # the most in a call

    def measure(self) -> Measurement:
        """All trials, the most important first."""
        self._findings.check_batch_axis()
        if not self._manifest.chunkable and not self._manifest.has_independent_steps:
            self._short, self._long = self._whole_lengths()
        for number, kind in enumerate(KINDS):
            if number < ESSENTIAL_KINDS or self._has_time():
                self._try_alone(kind)
        for row in (*self._rows.values(), *self._fill()):
            self._try_cut(row)
        if not self._coarsens:
            self._try_ahead()
        self._try_together()
        self._try_ragged()
        self._try_many()
        self._try_long()
        return Measurement(self._findings.difference.absolute, self._ragged, self._tried_rows)

    def _whole_lengths(self) -> tuple[int, int]:
        """Two lengths of whole sequences: the example's, which may be the least or the most, and another.

        Raises StartupError if there is no other, and the manifest does not say so.
        """
        given = len(self._examination.example[0])
        if self._manifest.exact_steps:
            return given, given
        row = self._source.new("example", given + SHORT)
        if self._bench.computes(row):
            return given, row.steps
        with self._findings.running(f"with {given - 1} or {row.steps} steps", LENGTHS_HINT):
            self._bench.alone(row, given - 1)
        return given - 1, given

    def _has_time(self, seconds: float = 0.0) -> bool:
        """Whether a trial that is not essential may take so long."""
        return time.thread_time() - self._started + seconds < self._examination.budget_s

    def _reached_row(self, kind: Kind) -> Row:
        """A row from a state that other steps have reached, if there is one."""
        if not self._manifest.chunkable:
            return self._source.new(kind, self._long)
        before = self._source.new(kind, self._short)
        return self._source.new(kind, self._long, self._bench.alone(before, self._short).state)

    def _try_alone(self, kind: Kind) -> None:
        """Two lengths; the engine checks the shapes. Invented numbers may be outside a graph's domain."""
        row = self._reached_row(kind) if kind == "small" else self._source.new(kind, self._long)
        lengths = self._long, self._short
        if kind != "example" and not all(self._bench.computes(row, steps) for steps in lengths):
            return
        with self._findings.running(f"with {self._long} or {self._short} steps", LENGTHS_HINT):
            for steps in lengths:
                self._bench.alone(row, steps)
        self._rows[kind] = row

    def _fill(self) -> list[Row]:
        """A row whose states stop growing within it, if they grow. Then full ones are tried together."""
        self._alike = self._rows
        if not self._manifest.grows or not self._manifest.chunkable:
            return []
        before, full = fill(self._manifest, self._bench, self._findings, self._source, self._short)
        self._alike = {}
        for kind in self._rows:
            row = self._source.new(kind, self._long, full)
            if self._bench.computes(row):
                self._alike[kind] = row
                full = self._bench.alone(row, self._long).state  # of the same size, with other values
        return [self._source.new("example", self._long, before)]

    def _try_cut(self, row: Row) -> None:
        """In two pieces, cut everywhere, and one step at a time; in one place only if the graph is slow."""
        if self._manifest.has_independent_steps and not any(spec.carry for spec in self._manifest.inputs):
            self._try_steps(row)
        if not self._manifest.chunkable:
            return
        ends = range(self._unit, self._long + 1, self._unit)
        self._cut(row, (self._short, self._long))
        if self._has_time():
            self._cut(row, ends)
        for end in ends[:-1]:
            if self._has_time():
                self._cut(row, (end, self._long))
        for end in ends if not all(self._bench.has_all) else ():  # the last output of each prefix
            if end == self._short or self._has_time():
                self._cut(row, range(self._unit, end + 1, self._unit))

    def _cut(self, row: Row, ends: Sequence[int]) -> None:
        with self._findings.running("cut in pieces"):
            pieces, whole = self._bench.in_pieces(row, ends), self._bench.alone(row, ends[-1])
        found = self._bench.compare(pieces, whole)
        self._findings.accept(found, [row], "cut in pieces it answers something else", CUT_HINT)

    def _try_ahead(self) -> None:
        axes = self._manifest.axes
        if self._manifest.chunkable and axes.time is not None and axes.time_size is None:
            row = self._rows["example"]
            try_ahead(self._bench, self._findings, self._source, row, self._short)

    def _try_steps(self, row: Row) -> None:
        """Steps that do not depend on each other: one a call, or all in one."""
        with self._findings.running("with one step"):
            steps = [self._bench.alone(row.part(step, step + 1, row.state), 1) for step in range(self._long)]
        whole = self._bench.alone(row, self._long)
        for step, alone in enumerate(steps):
            part = Answer(tuple(y[step : step + 1] for y in whole.outputs), whole.state)
            found = self._bench.compare(part, alone)
            text = "steps of one call influence each other"
            self._findings.accept(found, [row], text, self._findings.steps_hint)

    def _try_together(self) -> None:
        """Two rows of other values in one call, and three."""
        rows = list(self._alike.values())
        if len(rows) == 1:
            rows.append(Row(tuple(x[::-1].copy() for x in rows[0].inputs), rows[0].state))
        for count in (2, 3):
            if count <= min(len(rows), self._max_rows) and (count == 2 or self._has_time()):
                self._call(rows[:count])
        if self._max_rows > 1 and not self._coarsens:
            row, first = (row.first(self._fewest) for row in rows[:2])
            try_neighbours(self._bench, self._findings, self._source, row, first)

    def _call(self, rows: list[Row]) -> None:
        """Rows of one length in one call."""
        with self._findings.running(f"with {len(rows)} rows in a call", ROWS_HINT):
            answers = self._bench.at_once(rows)
        for row, answer in zip(rows, answers, strict=True):
            found = self._bench.compare(answer, self._bench.alone(row, row.steps))
            self._findings.accept(found, [row], INFLUENCE, self._findings.batch_hint)
        self._tried_rows = max(self._tried_rows, len(rows))

    def _try_ragged(self) -> None:
        """Rows of several lengths, cut into short chunks, as the scheduler batches them."""
        if not self._manifest.chunkable and not self._ragged:
            return
        lengths = [self._long, self._short]
        if self._manifest.chunkable and self._has_time():
            lengths += [self._unit, self._long - self._unit]
        whole = [*self._rows.values(), *(self._alike.values() if self._manifest.grows else ())]
        rows = [row.first(steps) for steps in lengths for row in whole]
        chunk_steps = CUT_STEPS * self._unit
        found = self._together(rows, chunk_steps)
        if self._ragged and self._findings.is_other(found, rows):
            self._ragged = False
            found = self._together(rows, chunk_steps)
        self._findings.accept(found, rows, "in batches it answers something else", self._findings.batch_hint)

    def _together(self, rows: list[Row], chunk_steps: int) -> Difference:
        """The difference that it makes if rows arrive together."""
        with self._findings.running("in batches"):
            max_batch = min(len(rows), self._examination.batching.max_batch)
            answers = self._bench.run(rows, max_batch=max_batch, chunk_steps=chunk_steps, ragged=self._ragged)
        found = Difference()
        for row, answer in zip(rows, answers, strict=True):
            found |= self._bench.compare(answer, self._bench.alone(row, row.steps))
        return found

    def _try_many(self) -> None:
        """More rows, up to the most of a call: all different, or in a slow graph a few repeated."""
        pool: list[Row] = []
        for count in sorted({rows for rows in (*ROWS, self._max_rows) if 3 < rows <= self._max_rows}):
            if not self._has_time(2 * count * self._short * self._step_s):
                break
            for kind in islice(cycle(self._alike), count - len(pool)):
                pool.append(self._source.new(kind, self._short, self._alike[kind].state))
            if not all(map(self._bench.computes, pool)):
                break
            self._call(pool)
        affordable = int(self._examination.many_rows_s / (self._fewest * self._step_s))
        count = min(self._max_rows, max(2, affordable))
        if count > self._tried_rows:
            rows = [row.first(self._fewest) for row in self._alike.values()]
            self._call(list(islice(cycle(rows), count)))

    def _try_long(self) -> None:
        """A sequence as long as the example, one of two chunks, and one of several: long memories show."""
        chunk_steps = self._examination.batching.chunk_steps
        if not self._manifest.chunkable:
            return
        lengths = {len(self._examination.example[0]), chunk_steps + SHORT, MANY_CHUNKS * chunk_steps + SHORT}
        for length in sorted(lengths):
            steps = length - length % self._unit
            if not steps or not self._has_time(3 * steps * self._step_s):
                return
            row = self._source.new("example", steps)
            if not self._bench.computes(row):  # such as a graph with a table of positions
                return
            found = self._together([row, row.first(min(self._short, steps))], chunk_steps)
            self._findings.accept(found, [row], "in chunks it answers something else", CUT_HINT)

    @property
    def _fewest(self) -> int:
        """The steps of the shortest call that is tried."""
        return self._unit if self._manifest.chunkable else self._short

    @property
    def _coarsens(self) -> bool:
        """Whether one large number in a call makes the rounding of all others coarser."""
        return self._examination.rounding >= QUANTIZED

    @cached_property
    def _step_s(self) -> float:
        """Seconds of CPU time that a step takes."""
        row = self._rows["example"]
        started = time.thread_time()
        self._bench.run([row])
        return max(time.thread_time() - started, 1e-9) / row.steps
