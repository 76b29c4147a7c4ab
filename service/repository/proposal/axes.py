"""Decides which axis of the input is time and which is batch, by measurement first and names second.

Rows of a batch axis do not change one another; a step changes the steps after it. Each layout is given
points; one that a measurement contradicts is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from service.repository.probe import Port, ProbeError
from service.repository.proposal.names import BATCH_AXIS, TIME_AXIS
from service.repository.proposal.subject import Subject
from service.sequence import Array

SEEDS = 3  # of values that are tried until a change is seen
CHANGED = 1e-6  # a smaller share of the largest number is no change


@dataclass(slots=True, frozen=True)
class Layout:
    """The batch and the time axis of an input; None: it has none."""

    batch: int | None
    time: int | None

    def dims(self, rank: int) -> tuple[int, ...]:
        """The positions of the other axes."""
        return tuple(axis for axis in range(rank) if axis not in (self.batch, self.time))


@dataclass(slots=True, frozen=True)
class Influence:
    """What a change at one position of an axis changes in the outputs."""

    is_independent: bool  # nothing at other positions
    is_causal: bool  # something at later positions, nothing at earlier ones
    is_seen: bool  # anything at all
    looks_ahead: bool  # something at earlier positions, in an output that has this axis


def choose_layout(
    subject: Subject, port: Port, state_groups: set[int], wanted: list[Layout] | None = None
) -> tuple[Layout, bool]:
    """The best layout of the main input, and whether its rows are independent.

    `state_groups`: the groups of sizes that states have too; `wanted`: the layouts to choose from.
    """
    layouts = list(wanted if wanted is not None else _layouts(subject, port))
    influences = [measure(subject, port, axis) for axis in range(len(port.shape))]
    scores = {each: _score(subject, port, each, influences, state_groups) for each in layouts}
    best = max(layouts, key=lambda each: scores[each])
    return best, _rows_are_independent(best, influences)


def measure(subject: Subject, port: Port, axis: int) -> Influence | None:
    """Change the first and the last position of an axis; None if it has only one."""
    sizes = subject.sizes.base
    group = subject.input_groups(port)[axis]
    if group is not None and port.sized(sizes)[axis] < 2:
        sizes = subject.sizes.grown(group)
    size = port.sized(sizes)[axis]
    if size < 2 or 0 in port.sized(sizes):
        return None
    found = None
    for seed in range(SEEDS):
        try:
            found = _measure(
                subject, port, axis, subject.feeds(sizes, seed=seed, lengths=_row_length(subject, port))
            )
        except ProbeError:
            return None
        if found.is_seen:
            break
    return found


def _measure(subject: Subject, port: Port, axis: int, feeds: dict[str, Array]) -> Influence:
    """Raises ProbeError."""
    size = feeds[port.name].shape[axis]
    before = subject.run(feeds)
    first, last = (
        [_changed(before[name], after[name], size) for name in before]
        for after in (subject.run(_disturb(feeds, port.name, axis, at)) for at in (0, size - 1))
    )
    independent = all(_is_only(0, seen) for seen in first) and all(_is_only(size - 1, seen) for seen in last)
    both = [(a, b) for a, b in zip(first, last, strict=True) if a and b]
    is_causal = any(not _is_only(0, a) and _is_only(size - 1, b) for a, b in both)
    looks_ahead = any(not _is_only(size - 1, seen) for seen in last if any(seen))
    return Influence(independent, is_causal, any(first) or any(last), looks_ahead)


def _row_length(subject: Subject, port: Port) -> int:
    """A length that every row can have, whichever axis is time."""
    groups = subject.input_groups(port)
    sizes = [
        size for size, group in zip(port.sized(subject.sizes.base), groups, strict=True) if group is not None
    ]
    return min(sizes, default=1)


def _disturb(feeds: dict[str, Array], name: str, axis: int, position: int) -> dict[str, Array]:
    """The same values, with one position of one axis of an input changed."""
    changed = feeds[name].copy()
    place: tuple[slice | int, ...] = (*[slice(None)] * axis, position)
    values = changed[place]
    if values.dtype.kind == "f":
        changed[place] = -values - np.asarray(1.5, values.dtype)
    else:
        changed[place] = values == 0
    return feeds | {name: changed}


def _changed(before: Array, after: Array, size: int) -> list[set[int]]:
    """By output axis of this size, the positions that changed; one empty-handed entry if none has it."""
    if before.shape != after.shape:
        return [set()]
    scale = np.abs(before.astype(np.float64)).max(initial=0.0) if before.dtype.kind == "f" else 0.0
    with np.errstate(invalid="ignore"):
        apart = np.abs(before.astype(np.float64) - after.astype(np.float64)) > CHANGED * scale
    if not apart.any():
        return []
    axes = [axis for axis, length in enumerate(apart.shape) if length == size]
    seen: list[set[int]] = [
        set(np.flatnonzero(np.moveaxis(apart, axis, 0).reshape(size, -1).any(axis=1))) for axis in axes
    ]
    return seen or [set()]


def _is_only(position: int, seen: list[set[int]]) -> bool:
    """Whether nothing changed, or along some axis only this position."""
    return not seen or {position} in seen


def all_layouts(rank: int) -> list[Layout]:
    """Every layout of an input with so many axes."""
    places = [*range(rank), None]
    return [Layout(batch, time) for batch in places for time in places if batch is None or batch != time]


def _layouts(subject: Subject, port: Port) -> Iterator[Layout]:
    rank, groups = len(port.shape), subject.input_groups(port)
    if not rank:
        yield Layout(None, None)
    for batch in (0, 1, None)[: 3 if rank > 1 else 1] if rank else ():
        for time in (1, 0, None, *range(2, rank)):
            fits = time is None or (time < rank and time != batch)
            if fits and (time is None or time < 2 or groups[time] is not None):
                yield Layout(batch, time)
    if rank == 1:
        yield from (Layout(None, 0), Layout(None, None))


def _rows_are_independent(layout: Layout, influences: list[Influence | None]) -> bool:
    influence = None if layout.batch is None else influences[layout.batch]
    return influence is None or influence.is_independent


def _score(
    subject: Subject, port: Port, layout: Layout, influences: list[Influence | None], state_groups: set[int]
) -> float:
    groups, rank = subject.input_groups(port), len(port.shape)
    dims = layout.dims(rank)
    points = _batch_points(port, layout.batch, groups, influences, state_groups)
    points -= 6.0 * (not _rows_are_independent(layout, influences))
    points += _time_points(port, layout.time, groups, influences, state_groups)
    if layout.time is None and rank > 1 and _is_id(subject, port):
        points -= 1.0
    points -= sum(2.0 for axis in dims if groups[axis] is not None)
    points -= sum(3.0 for axis in dims if groups[axis] in state_groups)
    if _is_id(subject, port):
        return points - 0.7 * len(dims)
    if rank > 1 and not dims:  # one number a step; a fixed size is rather that of features
        points -= 0.7 + 3.0 * (layout.batch is not None and groups[layout.batch] is None)
    return points


def _is_id(subject: Subject, port: Port) -> bool:
    """Whether its numbers select rows of a table, so that a step is usually one number."""
    return port.is_integer and subject.edges.embedding_size(port.name) is not None


def _batch_points(
    port: Port,
    axis: int | None,
    groups: tuple[int | None, ...],
    influences: list[Influence | None],
    state_groups: set[int],
) -> float:
    if axis is None:
        return -1.5
    points = 0.5 * (axis == 0) + _name_points(port, axis, BATCH_AXIS.search, TIME_AXIS.search)
    if groups[axis] is not None:
        return points + 1.0 + 4.0 * (groups[axis] in state_groups)
    influence = influences[axis]
    return points + (1.5 if influence is not None and influence.is_seen else 0.3)


def _time_points(
    port: Port,
    axis: int | None,
    groups: tuple[int | None, ...],
    influences: list[Influence | None],
    state_groups: set[int],
) -> float:
    rank = len(port.shape)
    if axis is None:
        by_rank = {0: 0.0, 1: 0.0, 2: 0.0, 3: -1.5}
        return by_rank.get(rank, -0.5)
    points = _name_points(port, axis, TIME_AXIS.search, BATCH_AXIS.search) - 1.0 * (axis > 1)
    influence = influences[axis]
    points += 2.0 * (influence is not None and influence.is_causal)
    if groups[axis] is None:
        return points - 1.0
    points += 1.0 + 1.0 * (influence is not None and not influence.is_independent)
    return points - 6.0 * (groups[axis] in state_groups)


def _name_points(port: Port, axis: int, says, denies) -> float:  # type: ignore[no-untyped-def]
    name = port.shape[axis]
    if not isinstance(name, str):
        return 0.0
    return 2.0 * bool(says(name)) - 3.0 * bool(denies(name))
