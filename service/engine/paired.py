"""Large models, few sequences: a call on two cores instead of one, where a trial shows that it pays.

A time step reads all recurrent weights. Those of a large layer fit into the caches of two cores but not into
one's, so that two finish a step more than twice as fast as one, as long as ONNX Runtime shares out weights
between them: it does for up to four sequences, and shares out sequences beyond that.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from service.engine.cores import NUM_SHARED, Cores
from service.engine.onnx import OnnxEngine
from service.repository.rehearsal import Rehearsal
from service.sequence import Batch, Engine, Result

TRIAL_STEPS = 16
TRIAL_ROWS = (1, 2, 4)
MIN_S = 1e-3  # a trial on one core that is shorter reads weights that its cache holds


@dataclass(slots=True, frozen=True)
class PairedEngine:
    """Implements `service.sequence.Engine`: calls of up to `rows` sequences on two cores, others on one."""

    one: Engine
    both: Engine
    rows: int

    def run(self, batch: Batch) -> list[Result]:
        """Compute a batch on cores that the caller has taken; one result per chunk, in order."""
        return (self.both if len(batch.chunks) <= self.rows else self.one).run(batch)


def pair(graph: Path, one: OnnxEngine, cores: Cores, max_rows: int) -> PairedEngine | None:
    """Try a graph, whose engine is `one`, on both cores; None where that does not pay.

    It pays if it is faster than both cores would be each for itself, so if the gain is more than twofold.
    Raises StartupError.
    """
    manifest, zero = one.manifest, one.initial_state

    def both_cores(_: int) -> AbstractContextManager[None]:  # the neighbour is not to disturb the trial
        return cores.take_both()

    alone = Rehearsal(manifest, one, zero, graph.parent, both_cores)
    if manifest.axes.time is None or alone.seconds(1, TRIAL_STEPS) < MIN_S:
        return None
    both = OnnxEngine(graph, manifest, provider="cpu", helper_cpus=cores.others)
    together = Rehearsal(manifest, both, zero, graph.parent, both_cores)
    few = most_rows(
        lambda rows: alone.seconds(rows, TRIAL_STEPS),
        lambda rows: together.seconds(rows, TRIAL_STEPS),
        max_rows,
    )
    return PairedEngine(one, both, few) if few else None


def most_rows(alone: Callable[[int], float], together: Callable[[int], float], max_rows: int) -> int:
    """The most rows of a call that gains from both cores, given what rows take on one core and on both."""
    most = 0
    for rows in TRIAL_ROWS:
        if rows > max_rows or alone(rows) <= NUM_SHARED * together(rows):
            break
        most = rows
    return most
