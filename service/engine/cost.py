"""What an engine call costs, learnt while running: seconds as a function of batch and time steps.

    seconds ≈ call + step · steps + row · batch · steps

`call` is entering and leaving the runtime, `step` what a time step costs however many rows share it (the
recurrent weights are read once), `row` what each row adds. Pure arithmetic: the caller measures.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

import numpy as np

FIT_EVERY = 64  # observations between two fits
SMOOTHING = 0.1  # weight of the newest observation in its cell's average


@dataclass(slots=True, frozen=True)
class Coefficients:
    """Seconds: a call, a time step, and a row's time step."""

    call: float
    step: float
    row: float


class Cost:
    """Averages observations in cells of like (batch, steps), by powers of two, and fits three coefficients.

    The cells remember regions that traffic has left, so a run of equal calls cannot unlearn the others.
    Before the first observation everything is free: the bounds of the scheduler rule alone.
    """

    def __init__(self) -> None:
        self._known = Coefficients(0.0, 0.0, 0.0)
        self._cells: dict[tuple[int, int], list[float]] = {}  # → [batch, steps, seconds], averages
        self._num_unfitted = 0

    def observe(self, batch: int, steps: int, seconds: float) -> None:
        """Learn from one call of `batch` rows and `steps` time steps."""
        key = (batch.bit_length(), steps.bit_length())
        cell = self._cells.get(key)
        if cell is None:
            self._cells[key] = [batch, steps, seconds]
            self._num_unfitted = FIT_EVERY  # somewhere new: worth a fit at once
        else:
            for index, value in enumerate((batch, steps, seconds)):
                cell[index] += SMOOTHING * (value - cell[index])
            self._num_unfitted += 1
        if self._num_unfitted >= FIT_EVERY:
            self._fit()

    def learn(self, observations: Iterable[tuple[int, int, float]]) -> None:
        """Observe many (batch, steps, seconds) at once."""
        for batch, steps, seconds in observations:
            self.observe(batch, steps, seconds)

    def predict(self, batch: int, steps: int) -> float:
        """Seconds that a call of `batch` rows and `steps` time steps will take."""
        known = self._known
        return known.call + steps * (known.step + batch * known.row)

    def steps_within(self, seconds: float, batch: int) -> float:
        """The most time steps that `batch` rows can take in one call of at most `seconds`; may be below 1."""
        known = self._known
        per_step = known.step + batch * known.row
        return (seconds - known.call) / per_step if per_step else inf

    def queued(self, steps: int, rows: int) -> float:
        """Seconds that `steps` in all take, when `rows` at a time share a call."""
        known = self._known
        return steps * (known.step / rows + known.row)

    def rows_within(self, seconds: float, steps: int) -> float:
        """The most rows that a call of `steps` time steps can have within `seconds`; may be below 1."""
        known = self._known
        if not known.row:
            return inf if self.predict(0, steps) <= seconds else 0.0
        return ((seconds - known.call) / steps - known.step) / known.row

    def _fit(self) -> None:
        """Least squares on relative errors, so that small calls count as much as large ones."""
        self._num_unfitted = 0
        batch, steps, seconds = np.array(list(self._cells.values())).T  # each [cells]
        terms = np.stack((np.ones_like(batch), steps, batch * steps), axis=1)
        fitted, *_ = np.linalg.lstsq(terms / seconds[:, None], np.ones_like(seconds), rcond=None)
        self._known = Coefficients(*(max(0.0, float(value)) for value in fitted))


class TwoCosts(Cost):
    """For an engine that runs calls of few rows on `cores` cores: they are learnt apart."""

    def __init__(self, max_few: int, cores: int) -> None:
        super().__init__()
        self._max_few = max_few
        self._cores = cores
        self._few, self._many = Cost(), Cost()

    def observe(self, batch: int, steps: int, seconds: float) -> None:
        """Learn from one call of `batch` rows and `steps` time steps."""
        self._of(batch).observe(batch, steps, seconds)

    def predict(self, batch: int, steps: int) -> float:
        """Seconds that a call of `batch` rows and `steps` time steps will take."""
        return self._of(batch).predict(batch, steps)

    def steps_within(self, seconds: float, batch: int) -> float:
        """As of one core: a call that takes several is to give them back the sooner."""
        return self._of(batch).steps_within(
            seconds / self._cores if batch <= self._max_few else seconds, batch
        )

    def queued(self, steps: int, rows: int) -> float:
        """Seconds that `steps` in all take, when `rows` at a time share a call."""
        return self._of(rows).queued(steps, rows)

    def rows_within(self, seconds: float, steps: int) -> float:
        """The most rows that a call of `steps` time steps can have within `seconds`; may be below 1."""
        rows = self._many.rows_within(seconds, steps)
        few = self._few.rows_within(seconds / self._cores, steps)
        return rows if rows > self._max_few else min(few, self._max_few)

    def _of(self, batch: int) -> Cost:
        return self._few if batch <= self._max_few else self._many
