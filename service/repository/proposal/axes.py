"""Decides which axis of the input is time and which is batch, by measurement first and names second.

Rows of a batch axis do not change one another, and equal rows have equal answers; a step changes the steps
after it. Each layout is given points; one that a measurement contradicts is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from service.repository.probe import Port, ProbeError
from service.repository.proposal.names import BATCH_AXIS, TIME_AXIS
from service.repository.proposal.subject import SAME_QUANTIZED, Subject
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
    ignores_steps: bool  # the first position changes something, and the last or a middle one nothing
    is_alike: bool  # equal values at the first and the last position have equal answers


def choose_layout(
    subject: Subject, port: Port, state_groups: set[int], wanted: list[Layout] | None = None
) -> tuple[Layout, Influence | None, Influence | None]:
    """The best layout of the main input, and what its batch axis and its time axis influence.

    `state_groups`: the groups of sizes that states have too; `wanted`: the layouts to choose from.
    """
    layouts = list(wanted if wanted is not None else _layouts(subject, port))
    influences = [measure(subject, port, axis) for axis in range(len(port.shape))]
    best = max(layouts, key=_Points(subject, port, influences, state_groups).of)
    batch, time = (None if axis is None else influences[axis] for axis in (best.batch, best.time))
    return best, batch, time


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
        if found.is_seen and not found.ignores_steps:
            break
    return found


def _measure(subject: Subject, port: Port, axis: int, feeds: dict[str, Array]) -> Influence:
    """Raises ProbeError."""
    size = feeds[port.name].shape[axis]
    before = subject.run(feeds)
    share = SAME_QUANTIZED if subject.is_quantized else CHANGED
    first, middle, last = (
        [_changed(before[name], after[name], size, share) for name in before]
        for after in (subject.run(_disturb(feeds, port.name, axis, at)) for at in (0, size // 2, size - 1))
    )
    is_fine = not subject.is_quantized and any(y.dtype.kind == "f" for y in before.values())
    both = [(a, b) for a, b in zip(first, last, strict=True) if a and b]
    return Influence(
        is_independent=all(_is_only(0, seen) for seen in first)
        and all(_is_only(size - 1, seen) for seen in last),
        is_causal=any(not _is_only(0, a) and _is_only(size - 1, b) for a, b in both),
        is_seen=any(first) or any(last),
        looks_ahead=any(not _is_only(size - 1, seen) for seen in last if any(seen)),
        ignores_steps=is_fine and any(first) and not (any(middle) and any(last)),
        is_alike=_is_alike(subject, port, axis, feeds),
    )


def _is_alike(subject: Subject, port: Port, axis: int, feeds: dict[str, Array]) -> bool:
    """Whether equal values at the first and the last position have equal answers, as rows have.

    Other inputs are zero, so their axes play no role. An output is compared along some axis of that size.
    """
    equal = feeds[port.name].copy()
    size, along = equal.shape[axis], np.moveaxis(equal, axis, 0)  # a view
    along[-1] = along[0]
    zeros = {each.name: np.zeros_like(feeds[each.name]) for each in subject.ports if each is not port}
    if subject.lengths in zeros:
        zeros[subject.lengths] = feeds[subject.lengths]
    try:
        outputs = subject.run(feeds | zeros | {port.name: equal})
    except ProbeError:  # not measured
        return True
    return all(
        any(_ends_alike(np.moveaxis(y, place, 0)) for place, length in enumerate(y.shape) if length == size)
        for y in outputs.values()
        if size in y.shape and y.dtype.kind == "f"
    )


def _ends_alike(y: Array) -> bool:
    return bool(np.allclose(y[0], y[-1], rtol=1e-3, atol=1e-5, equal_nan=True))


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


def _changed(before: Array, after: Array, size: int, share: float) -> list[set[int]]:
    """By output axis of this size, the positions that changed; one empty-handed entry if none has it."""
    if before.shape != after.shape:
        return [set()]
    scale = np.abs(before.astype(np.float64)).max(initial=0.0) if before.dtype.kind == "f" else 0.0
    with np.errstate(invalid="ignore"):
        apart = np.abs(before.astype(np.float64) - after.astype(np.float64)) > share * scale
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


@dataclass(slots=True)
class _Points:
    """Points for each layout of an input; the best one has most."""

    subject: Subject
    port: Port
    influences: list[Influence | None]  # by axis
    state_groups: set[int]
    groups: tuple[int | None, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.groups = self.subject.input_groups(self.port)

    def of(self, layout: Layout) -> float:
        """The points of one layout."""
        rank, is_id = len(self.port.shape), self._is_id()
        dims = layout.dims(rank)
        points = self._of_batch(layout.batch) + self._of_time(layout.time)
        if layout.time is None and rank > 1 and is_id:
            points -= 1.0
        points -= sum(2.0 for axis in dims if self.groups[axis] is not None)
        points -= sum(3.0 for axis in dims if self.groups[axis] in self.state_groups)
        if is_id:
            return points - 0.7 * len(dims)
        if rank > 1 and not dims:  # one number a step; a fixed size is rather that of features
            points -= 0.7 + 3.0 * (layout.batch is not None and self.groups[layout.batch] is None)
        return points

    def _of_batch(self, axis: int | None) -> float:
        if axis is None:
            return -1.5
        influence = self.influences[axis]
        points = 0.5 * (axis == 0) + self._of_name(axis, is_batch=True)
        points -= 6.0 * (influence is not None and not influence.is_independent)
        points -= 3.0 * (influence is not None and not influence.is_alike)
        if self.groups[axis] is not None:
            return points + 1.0 + 4.0 * (self.groups[axis] in self.state_groups)
        return points + (1.5 if influence is not None and influence.is_seen else 0.3)

    def _of_time(self, axis: int | None) -> float:
        if axis is None:
            by_rank = {0: 0.0, 1: 0.0, 2: 0.0, 3: -1.5}
            return by_rank.get(len(self.port.shape), -0.5)
        influence, group = self.influences[axis], self.groups[axis]
        points = self._of_name(axis, is_batch=False) - 1.0 * (axis > 1)
        points += 2.0 * (influence is not None and influence.is_causal)
        if group is None:
            return points - 1.0
        points += 1.0 + 1.0 * (influence is not None and not influence.is_independent)
        return points - 12.0 * (group in self.state_groups)  # worse than two dims whose sizes change

    def _of_name(self, axis: int, *, is_batch: bool) -> float:
        name = self.port.shape[axis]
        if not isinstance(name, str):
            return 0.0
        says, denies = (BATCH_AXIS, TIME_AXIS) if is_batch else (TIME_AXIS, BATCH_AXIS)
        return 2.0 * bool(says.search(name)) - 3.0 * bool(denies.search(name))

    def _is_id(self) -> bool:
        """Whether its numbers select rows of a table, so that a step is usually one number."""
        return self.port.is_integer and self.subject.edges.embedding_size(self.port.name) is not None
