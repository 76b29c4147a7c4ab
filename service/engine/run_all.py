"""Runs sequences to their ends where no client waits for one of them: no event loop, no thread, no deadline.

The scheduler chooses the calls, as it does for the `Worker`. A call of several sequences that fails is made
again for each of them alone, so that one that fails does not fail others.
"""

from collections.abc import Iterable

from service.engine.runner import Runner
from service.engine.scheduler import Scheduler
from service.errors import CellgateError, InternalError
from service.sequence import Batch, Sequence


def run_all(sequences: Iterable[Sequence], runner: Runner, scheduler: Scheduler) -> None:
    """Run sequences to their ends; one that fails has its `error`. The scheduler must have room for all."""
    for sequence in sequences:
        scheduler.add(sequence)
    while batch := scheduler.schedule(0.0):
        outcome = runner.run(batch)
        if not isinstance(outcome.results, Exception):
            scheduler.commit(batch, outcome.results)
            continue
        scheduler.end(batch)
        for chunk in batch.chunks:
            _run_alone(Batch([chunk]), runner, scheduler)


def _run_alone(batch: Batch, runner: Runner, scheduler: Scheduler) -> None:
    results = runner.run(batch).results
    if not isinstance(results, Exception):
        scheduler.commit(batch, results)
        return
    if not isinstance(results, CellgateError):
        results = InternalError(f"the model failed on this sequence: {results}")
    batch.chunks[0].sequence.error = results
