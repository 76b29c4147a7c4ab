"""What the trials of a graph find: failures, and differences that are more than rounding.

A fault raises StartupError, which says what differs and which field of the manifest to look at.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.errors import StartupError
from service.manifest import Manifest
from service.repository.compare import Difference
from service.repository.rows import Bench, Row
from service.repository.values import nudge

AMPLIFIED = 100.0  # a change of so many times what the last place of the inputs changes is rounding too,
MOST_AMPLIFIED = 1e-2  # but no larger one: where an answer jumps, a last place explains any difference
CUT_HINT = "is it causal, are the states paired rightly?"
AHEAD_HINT = "is it causal?"
ROWS_HINT = 'does the graph fix the batch ("batch_size")?'
GROWTH_HINT = 'is that the largest size ("shape") of what grows ("grows")?'
LENGTHS_HINT = 'is the time axis the right one, or does the graph fix its length ("time_size")?'


@dataclass(slots=True, frozen=True)
class Measurement:
    """What an examination found."""

    difference: float  # the largest that batching and cutting make; 0: equal bits
    ragged: bool  # whether rows of different lengths may share a call
    max_rows: int  # the most rows that were tried in a call


class Findings:
    """The largest difference so far, and the rules by which a graph is refused."""

    def __init__(self, manifest: Manifest, bench: Bench, folder: Path, rounding: float) -> None:
        """`rounding`: the largest relative difference that is not another answer; `folder`: for messages."""
        self._manifest = manifest
        self._bench = bench
        self._folder = folder
        self._rounding = rounding
        self.difference = Difference()

    @property
    def batch_hint(self) -> str:
        """What to look at if rows influence each other."""
        way_out = 'If rows may change one another, set "batch_size" to 1'
        return f"{self._axis_question}? {way_out}" if self._has_batch else f"{self._axis_question}?"

    @property
    def steps_hint(self) -> str:
        """What to look at if steps that should be independent influence each other."""
        return f"{self._axis_question}, or the time?"

    @property
    def _axis_question(self) -> str:
        axis = self._manifest.axes.batch
        return f"is axis {axis} the batch" if self._has_batch else "is there a batch axis"

    @property
    def _has_batch(self) -> bool:
        return self._manifest.axes.batch is not None

    def accept(self, found: Difference, rows: Sequence[Row], text: str, hint: str) -> None:
        """Keep a difference of rounding. Raises StartupError for a larger one.

        `rows`: whose steps may amplify it; none where equal numbers went through calls of equal shapes.
        """
        if self.is_other(found, rows):
            amount = f"{found.absolute:.3g}" if np.isfinite(found.absolute) else "NaN"
            raise self.refusal(f"{text} by {amount} ({found.tensor}): {hint}")
        self.difference |= found

    def is_other(self, found: Difference, rows: Sequence[Row]) -> bool:
        """Whether a difference is more than rounding, also if the steps amplify that."""
        if found.relative <= self._rounding:
            return False
        return found.relative > MOST_AMPLIFIED or (
            found.relative > AMPLIFIED * max(map(self._sensitivity, rows), default=0.0)
        )

    def _sensitivity(self, row: Row) -> float:
        """The relative change of the answer if every float before it changes in its last place."""
        nudged = Row(tuple(map(nudge, row.inputs)), tuple(nudge(np.asarray(array)) for array in row.state))
        if not self._bench.computes(nudged):
            return 0.0
        change = self._bench.compare(
            self._bench.alone(nudged, row.steps), self._bench.alone(row, row.steps)
        ).relative
        return change if np.isfinite(change) else 0.0

    def check_batch_axis(self) -> None:
        """Refuse a batch axis that cannot be tried, since a state has none. Raises StartupError."""
        axes, without = self._manifest.axes, [s for s in self._manifest.states if s.batch_axis is None]
        if axes.time is None and axes.batch is not None and axes.batch_size is None and without:
            raise self.refusal(
                f"axis {axes.batch} is the batch, but state {without[0].input!r} has no batch axis: if the "
                'graph takes one row, set "batch_size" to 1; if the axis is the time, set "batch" to null'
            )

    @contextmanager
    def running(self, how: str, hint: str = "") -> Iterator[None]:
        """Report a failure of the graph as StartupError."""
        try:
            yield
        except Exception as error:
            text = f"the graph fails {how}: {error}"
            raise self.refusal(f"{text}; {hint}" if hint else text) from error

    def refusal(self, detail: str) -> StartupError:
        """The error that refuses the version."""
        return StartupError(f"{self._folder}: {detail}")
