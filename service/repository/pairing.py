"""Tries a model on both cores of a pair of workers, on its own example, and checks the answers.

See `service.engine.paired` for why two cores can be more than twice as fast.
"""

import functools

from service.engine import Cores, Outcome, PairedEngine, Trial, run_timed
from service.manifest import GRAPH_FILE
from service.repository.examine import Examination
from service.repository.model import ModelEngine, OpenEngine
from service.repository.rehearsal import Rehearsal
from service.sequence import Batch, Engine


def try_pair(
    rehearsal: Rehearsal,
    engine: ModelEngine,
    cores: Cores,
    *,
    max_batch: int,
    trial: Trial,
    open_engine: OpenEngine,
) -> PairedEngine | None:
    """An engine that runs few rows on both cores; None if that does not pay for this model.

    `engine` is its engine on one core; `max_batch` the most rows that a call can have.
    Raises StartupError if the graph fails.
    """
    manifest = rehearsal.manifest
    on_one = functools.partial(_seconds, rehearsal, engine, cores, trial.steps)
    has_choice = manifest.axes.time is not None and manifest.axes.time_size is None  # of the steps of a call
    if not has_choice or not trial.is_large(on_one(1)):
        return None
    paired_engine = open_engine(
        rehearsal.folder / GRAPH_FILE, manifest, provider="cpu", helper_cpus=cores.other_cpus
    )
    on_both = functools.partial(_seconds, rehearsal, paired_engine, cores, trial.steps)
    max_rows = trial.max_rows(on_one, on_both, max_batch)
    return PairedEngine(engine, paired_engine, max_rows) if max_rows else None


def check_pair(rehearsal: Rehearsal, examination: Examination, paired: PairedEngine) -> float:
    """The max abs difference that cutting and batching make if chunks alternate between one core and two.

    Raises StartupError if the answer is not the expected one.
    """
    alternating = PairedEngine(paired.on_one, paired.on_both, max_rows=1)
    for engine in (alternating, paired):
        rehearsal.check(engine)
    return max(examination.measure(engine).difference for engine in (alternating, paired))


def _seconds(rehearsal: Rehearsal, engine: Engine, cores: Cores, steps: int, rows: int) -> float:
    return rehearsal.seconds(functools.partial(_run_alone, engine, cores), rows, steps)


def _run_alone(engine: Engine, cores: Cores, batch: Batch) -> Outcome:
    """Run a batch while the other worker computes nothing: it would disturb the trial."""
    with cores.hold_both():
        return run_timed(engine, batch)
