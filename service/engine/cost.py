"""The cost of an engine call, learnt while running: seconds as a function of batch and time steps.

    seconds ≈ call + step · steps + row · batch · steps

`call` is the cost of entering and leaving the runtime; `step` that of a time step, however many rows share it
(the recurrent weights are read once); `row` what each row adds. Pure arithmetic: the caller measures.
"""

from dataclasses import dataclass
from itertools import accumulate
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

    Cells that traffic has left keep their averages, so a run of equal calls does not displace the others.
    Before the first observation every cost is 0, and only the scheduler's bounds apply.
    """

    def __init__(self) -> None:
        self._coefficients = Coefficients(0.0, 0.0, 0.0)
        self._cells: dict[tuple[int, int], list[float]] = {}  # → [batch, steps, seconds], averages
        self._num_unfitted = 0

    def observe(self, batch: int, steps: int, seconds: float) -> None:
        """Learn from one call of `batch` rows and `steps` time steps."""
        key = (batch.bit_length(), steps.bit_length())
        cell = self._cells.get(key)
        if cell is None:
            self._cells[key] = [batch, steps, seconds]
            self._num_unfitted = FIT_EVERY  # a new cell is worth a fit at once
        else:
            for index, value in enumerate((batch, steps, seconds)):
                cell[index] += SMOOTHING * (value - cell[index])
            self._num_unfitted += 1
        if self._num_unfitted >= FIT_EVERY:
            self._fit()

    def predict(self, batch: int, steps: int) -> float:
        """Seconds that a call of `batch` rows and `steps` time steps will take."""
        cost = self._coefficients
        return cost.call + steps * (cost.step + batch * cost.row)

    def steps_within(self, seconds: float, batch: int) -> float:
        """The most time steps that `batch` rows can take in one call of at most `seconds`; may be below 1."""
        cost = self._coefficients
        per_step = cost.step + batch * cost.row
        return (seconds - cost.call) / per_step if per_step else inf

    def queued(self, steps: float, rows: int) -> float:
        """Seconds that `steps` in total take if each call has `rows` rows."""
        cost = self._coefficients
        return steps * (cost.step / rows + cost.row)

    def rows_within(self, seconds: float, steps: int) -> float:
        """The most rows that a call of `steps` time steps can have within `seconds`; may be below 1."""
        cost = self._coefficients
        if not cost.row:
            return inf if self.predict(0, steps) <= seconds else 0.0
        return ((seconds - cost.call) / steps - cost.step) / cost.row

    def _fit(self) -> None:
        """Least squares on relative errors, so that small calls have the same weight as large ones."""
        self._num_unfitted = 0
        batch, steps, seconds = np.array(list(self._cells.values())).T  # each [cells]
        terms = np.stack((np.ones_like(batch), steps, batch * steps), axis=1)
        fitted, *_ = np.linalg.lstsq(terms / seconds[:, None], np.ones_like(seconds), rcond=None)
        self._coefficients = Coefficients(*(max(0.0, float(value)) for value in fitted))


class TwoCosts(Cost):
    """For an engine that runs calls of up to `max_few` rows on `cores` cores: learnt separately."""

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
        """As for one core; a call on several cores gets a fraction of the time, to release them sooner."""
        return self._of(batch).steps_within(
            seconds / self._cores if batch <= self._max_few else seconds, batch
        )

    def queued(self, steps: float, rows: int) -> float:
        """Seconds that `steps` in total take if each call has `rows` rows."""
        return self._of(rows).queued(steps, rows)

    def rows_within(self, seconds: float, steps: int) -> float:
        """The most rows that a call of `steps` time steps can have within `seconds`; may be below 1."""
        rows = self._many.rows_within(seconds, steps)
        few = self._few.rows_within(seconds / self._cores, steps)
        return rows if rows > self._max_few else min(few, self._max_few)

    def _of(self, batch: int) -> Cost:
        return self._few if batch <= self._max_few else self._many


def best_steps(cost: Cost, remaining: list[int], bound: int) -> int:
    """The length of a call, at most `bound`, at which it computes the most true steps a second.

    `remaining`: the steps that each row has left. A row that ends early is computed to the end of the call
    nevertheless, as padding. Only the end of a row can be the best length: between two ends, each further
    step adds no more padding than the last.
    """
    ends = sorted(min(steps, bound) for steps in remaining)
    best_rate, best = 0.0, bound
    for index, (end, ended) in enumerate(zip(ends, accumulate(ends), strict=True)):
        true_steps = ended + end * (len(ends) - 1 - index)
        seconds = cost.predict(len(ends), end)
        if seconds and true_steps / seconds > best_rate:
            best_rate, best = true_steps / seconds, end
    return best
