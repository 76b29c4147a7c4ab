"""The bounds under which models are batched, and what they become for a graph with given axes."""

import math
import sys
from dataclasses import dataclass

from service.engine.axes import takes_one_step, takes_steps_as_rows
from service.engine.cost import Cost
from service.engine.scheduler import Scheduler
from service.manifest import Manifest


@dataclass(slots=True, frozen=True)
class Batching:
    """The bounds under which every model is batched, and the target time of one engine call."""

    max_batch: int
    chunk_steps: int
    max_waiting: int
    max_wait_s: float = math.inf
    target_s: float = math.inf
    max_call_bytes: float = math.inf  # of the arrays of a call of sequences that cannot be cut
    inline_s: float = math.inf  # a call that is expected to take longer runs in a thread


def max_batch_for(manifest: Manifest, batching: Batching, *, ragged: bool = True) -> int:
    """The most rows of one call of this graph."""
    axes = manifest.axes
    # Without lengths a long row is cut where the shortest ends; one that must not be cut runs alone.
    are_equal = manifest.exact_steps is not None
    if not _is_cut(manifest) and not are_equal and not _is_ragged(manifest, ragged):
        return 1
    has_batch = axes.batch is not None and all(state.batch_axis is not None for state in manifest.states)
    return min(axes.batch_size or sys.maxsize, batching.max_batch) if has_batch else 1


def scheduler_for(
    manifest: Manifest, batching: Batching, cost: Cost | None = None, *, ragged: bool = True
) -> Scheduler:
    """A scheduler within the bounds and the graph's abilities.

    `ragged` false: all rows of a batch must be equally long, although the graph takes row lengths.
    """
    return Scheduler(
        max_batch=max_batch_for(manifest, batching, ragged=ragged),
        chunk_steps=_chunk_steps(manifest, batching),
        max_waiting=batching.max_waiting,
        ragged=_is_ragged(manifest, ragged),
        cuts=_is_cut(manifest),
        whole_chunks=manifest.step_multiple > 1,
        cost=cost,
        target_s=batching.target_s,
        max_wait_s=batching.max_wait_s,
    )


def _chunk_steps(manifest: Manifest, batching: Batching) -> int:
    if takes_steps_as_rows(manifest):
        return batching.chunk_steps
    if takes_one_step(manifest):
        return 1
    if manifest.step_multiple > 1:
        return manifest.step_multiple
    return batching.chunk_steps if manifest.chunkable else sys.maxsize


def _is_cut(manifest: Manifest) -> bool:
    return manifest.chunkable or takes_one_step(manifest)


def _is_ragged(manifest: Manifest, ragged: bool) -> bool:
    return takes_steps_as_rows(manifest) or (ragged and manifest.lengths is not None)
