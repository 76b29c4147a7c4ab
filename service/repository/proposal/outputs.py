"""Describes the outputs that are answers: axes, the shape of a step, and whether it is probabilities."""

from typing import Any

import numpy as np

from service.repository.probe import Port
from service.repository.proposal.axes import Layout
from service.repository.proposal.pairing import Pairing
from service.repository.proposal.subject import Subject

SUM_TOLERANCE = {"float16": 2e-3}


def answers(subject: Subject, pairing: Pairing, wanted: tuple[str, ...]) -> list[str]:
    """The outputs that are no new states; if every output is one, the most likely answer among them.

    `wanted`: outputs that are answers in any case.
    """
    open_outputs = {name for names in pairing.open.values() for name in names}
    hidden = (pairing.taken | open_outputs).difference(pairing.fed_back.values(), wanted)
    names = [
        port.name for port in subject.probe.outputs if port.name not in subject.echoes or port.name in wanted
    ]
    rest = [name for name in names if name not in hidden]
    if rest or open_outputs:
        return rest or names[:1]
    floats = [name for name in names if subject.output(name).is_float]
    likely = [name for name in floats if not name.lower().startswith("c")]
    return (likely or floats or names)[:1]


def describe(subject: Subject, name: str, main: Port, layout: Layout) -> tuple[dict[str, Any], str]:
    """The fields of an `OutputSpec`, and what is wrong with it: "" if nothing."""
    axes, fault = _axes(subject, name, main, layout)
    shape = subject.shapes[0][name]
    is_last = (
        layout.time is not None and axes.time is None and main.sized(subject.sizes.base)[layout.time] != 1
    )
    kept = _kept_time(layout, axes, shape, subject.output_groups(name)) if is_last else None
    placed = Layout(axes.batch, kept) if kept is not None else axes
    dims = [size for axis, size in enumerate(shape) if axis not in (placed.batch, placed.time)]
    fields: dict[str, Any] = {"name": name, "dtype": subject.output(name).dtype, "dims": dims}
    if is_last:
        fields["steps"] = "last"
    if placed != _usual(layout, is_last, len(shape)):
        fields["axes"] = {"batch": placed.batch, "time": placed.time}
    if _is_distribution(subject, name, dims):
        fields["kind"] = "probabilities"
    return fields, fault


def _usual(layout: Layout, is_last: bool, rank: int) -> Layout:
    """The axes of an output that need not be written down. One beyond the last axis is the last."""
    if not is_last or layout.time is None:
        places = [None if place is None else min(place, rank - 1) for place in (layout.batch, layout.time)]
        return layout if places[0] == places[1] else Layout(*places)
    is_behind = layout.batch is not None and layout.batch > layout.time
    return Layout(layout.batch - 1 if is_behind and layout.batch else layout.batch, None)


def _kept_time(
    layout: Layout, axes: Layout, shape: tuple[int, ...], groups: tuple[int | None, ...]
) -> int | None:
    """Where the last step has a time axis of one, as the input has its own; None: nowhere."""
    place = layout.time
    if place is None or place >= len(shape) or place == axes.batch or len(shape) < 3:
        return None
    return place if shape[place] == 1 and groups[place] is None else None


def _axes(subject: Subject, name: str, main: Port, layout: Layout) -> tuple[Layout, str]:
    """Where the output has the axes of the input."""
    shape, groups = subject.shapes[0][name], subject.output_groups(name)
    batch = _position(subject, main, layout.batch, shape, groups, layout.batch, taken=None)
    time = _position(subject, main, layout.time, shape, groups, layout.time, taken=batch)
    others = {group for axis, group in enumerate(groups) if axis not in (batch, time) and group is not None}
    fault = ""
    if layout.batch is not None and batch is None:
        fault = f"output {name!r} of shape {list(shape)} has no batch axis"
    elif time is not None and layout.time is not None and groups[time] is not None:
        fault = _stretch_fault(subject, name, main, layout.time, time)
    if others and not fault:
        fault = f"output {name!r} has an axis whose size changes, but neither with batch nor with time"
    return Layout(batch, time), fault


def _stretch_fault(subject: Subject, name: str, main: Port, source: int, target: int) -> str:
    """Whether the output has another number of steps than the input."""
    number = subject.input_groups(main)[source] or 0
    after = subject.signature(main)[number + 1][source], subject.shapes[number + 1][name][target]
    before = subject.signature(main)[0][source], subject.shapes[0][name][target]
    if before[0] == before[1] and after[0] == after[1]:
        return ""
    return (
        f"output {name!r} has {before[1]} and {after[1]} steps for {before[0]} and {after[0]} steps of input"
    )


def _position(
    subject: Subject,
    main: Port,
    axis: int | None,
    shape: tuple[int, ...],
    groups: tuple[int | None, ...],
    preferred: int | None,
    taken: int | None,
) -> int | None:
    """The output's axis that belongs to the input's `axis`: it follows its size, or has its fixed size."""
    if axis is None:
        return None
    group = subject.input_groups(main)[axis]
    size = main.sized(subject.sizes.base)[axis]
    if group is not None:
        found = [place for place, other in enumerate(groups) if other == group]
    else:
        found = [
            place for place, n in enumerate(shape) if n == size and groups[place] is None and place != taken
        ]
        if size == 1 and preferred not in found:
            return None if taken is not None else (found[0] if found else None)
        found = [place for place in found if place == preferred] or found[: 1 if size > 1 else 0]
    return found[0] if found else None


def _is_distribution(subject: Subject, name: str, dims: list[int]) -> bool:
    """Whether its last axis holds numbers from 0 to 1 whose sum is 1, whatever the input."""
    if len(dims) != 1 or dims[0] < 2 or not subject.output(name).is_float:
        return False
    for seed in range(3):
        y = subject.run(subject.feeds(seed=seed))[name].astype(np.float64)
        if y.shape[-1:] != (dims[0],) or y.min(initial=0.0) < 0:
            return False
        if np.abs(y.sum(axis=-1) - 1).max(initial=0.0) > SUM_TOLERANCE.get(subject.output(name).dtype, 1e-4):
            return False
    return True
