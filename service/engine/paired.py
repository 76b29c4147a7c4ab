"""Large models, few sequences: an engine call on two cores instead of one, if a trial shows that it pays.

A time step reads all recurrent weights. Those of a large layer fit into the caches of two cores but not into
those of one, so that two cores finish a step more than twice as fast as one, as long as ONNX Runtime splits
the weights between them: it does for up to four sequences, and splits the sequences beyond that.
"""

from collections.abc import Callable
from dataclasses import dataclass

from service.engine.shared_cores import NUM_SHARED
from service.sequence import Batch, Engine, Result


@dataclass(slots=True, frozen=True)
class PairedEngine:
    """Implements `service.sequence.Engine`: batches of up to `max_rows` rows on two cores, others on one."""

    on_one: Engine
    on_both: Engine
    max_rows: int

    def run(self, batch: Batch) -> list[Result]:
        """Compute a batch on cores that the caller holds; one result per chunk, in order."""
        return (self.on_both if len(batch.chunks) <= self.max_rows else self.on_one).run(batch)


@dataclass(slots=True, frozen=True)
class Trial:
    """When two cores pay: if a call is more than `min_gain` times as fast, so that neither core is wasted."""

    rows: tuple[int, ...] = (1, 2, 4)
    steps: int = 16
    min_s: float = 1e-3  # a trial on one core that is shorter reads weights that its cache holds
    min_gain: float = NUM_SHARED

    def is_large(self, seconds: float) -> bool:
        """Whether a model is worth the trial, if one row takes so long on one core."""
        return seconds >= self.min_s

    def max_rows(
        self, on_one: Callable[[int], float], on_both: Callable[[int], float], max_batch: int
    ) -> int:
        """The most rows of a call that gains, by the seconds that rows take on one core and on both."""
        most = 0
        for rows in self.rows:
            if rows > max_batch or on_one(rows) <= self.min_gain * on_both(rows):
                break
            most = rows
        return most
