"""Measures states that grow: from an empty cache on, until the graph cuts it, or for too many steps."""

import time
from collections.abc import Mapping

import numpy as np

from service.repository.probe import ProbeError
from service.repository.proposal.subject import Growth, Subject

MOST_CALLS = 4096  # after which a state that still grows has no bound
BUDGET_S = 20.0
PATIENCE = 4  # calls without growth, at least; a subsampled cache does not grow in every one


def measure_growth(
    subject: Subject, pairs: Mapping[str, str], growing: Mapping[str, str], steps: int
) -> tuple[dict[str, Growth], str]:
    """The growth of each state of `growing`; or none, and why. `steps`: of one call with the base sizes.

    `pairs`, `growing`: new values by state; those of `pairs` keep their shapes.
    """
    axes = {name: _axis(subject, name, output) for name, output in growing.items()}
    feeds, sizes = subject.feeds(lengths=steps), dict.fromkeys(growing, 0)
    for name, axis in axes.items():
        if axis is None:
            return {}, f"state {name!r} changes its shape in several axes, or in one that the graph fixes"
        shape = list(feeds[name].shape)
        shape[axis] = 0
        feeds[name] = np.zeros(shape, feeds[name].dtype)
    deadline = time.monotonic() + BUDGET_S
    call = grown = 0
    while call < MOST_CALLS and time.monotonic() < deadline:
        call += 1
        try:
            outputs = subject.run(feeds)
        except ProbeError as error:
            return {}, f"the graph does not run with states that begin empty: {error}"
        feeds |= {name: outputs[output] for name, output in {**pairs, **growing}.items()}
        after = {name: feeds[name].shape[axis] for name, axis in axes.items() if axis is not None}
        grown, sizes = (call if after != sizes else grown), after
        if call - grown >= max(grown, PATIENCE):
            return {name: Growth(axis, sizes[name]) for name, axis in axes.items() if axis is not None}, ""
    name = max(sizes, key=lambda name: sizes[name])
    return {}, (
        f"state {name!r} grows without bound: {sizes[name]} entries after {call * steps} steps. Cut it "
        "to a fixed number of entries in the graph"
    )


def _axis(subject: Subject, name: str, output: str) -> int | None:
    """The one axis in which a new value differs from the state before; None if the graph fixes its size."""
    port = next(port for port in subject.ports if port.name == name)
    before, after = port.sized(subject.sizes.base), subject.shapes[0][output]
    axes = [axis for axis, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    return axes[0] if len(axes) == 1 and port.variable(axes[0]) else None
