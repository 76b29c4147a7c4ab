"""The bounds under which models are batched, and what they become for a graph with given axes."""

import math
import sys
from dataclasses import dataclass

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
    inline_s: float = math.inf  # a call that is expected to take longer runs in a thread


def max_batch_for(manifest: Manifest, batching: Batching, *, ragged: bool = True) -> int:
    """The most rows of one call of this graph."""
    axes = manifest.axes
    # Without lengths a long row is cut where the shortest ends; one that must not be cut runs alone.
    if not manifest.chunkable and not _is_ragged(manifest, ragged):
        return 1
    has_batch = axes.batch is not None and all(state.batch_axis is not None for state in manifest.states)
    return axes.batch_size or (batching.max_batch if has_batch else 1)


def scheduler_for(
    manifest: Manifest, batching: Batching, cost: Cost | None = None, *, ragged: bool = True
) -> Scheduler:
    """A scheduler within the bounds and the graph's abilities.

    `ragged` false: all rows of a batch must be equally long, although the graph takes row lengths.
    """
    chunk_steps = batching.chunk_steps if manifest.chunkable else sys.maxsize
    return Scheduler(
        max_batch=max_batch_for(manifest, batching, ragged=ragged),
        chunk_steps=1 if manifest.axes.time is None else chunk_steps,
        max_waiting=batching.max_waiting,
        ragged=_is_ragged(manifest, ragged),
        cuts=manifest.chunkable,
        cost=cost,
        target_s=batching.target_s,
        max_wait_s=batching.max_wait_s,
    )


def _is_ragged(manifest: Manifest, ragged: bool) -> bool:
    return ragged and manifest.lengths is not None
