"""Finds the sizes of axes with which a graph runs, and which of them can change, alone or together.

    x ["batch", "time", 4], h [1, "n", 8]   →   {batch, n} change together, {time} alone

It runs the graph on random values and looks only at whether it runs. It does not know what an axis means.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from service.repository.graph import Size
from service.repository.probe import Port

GENERIC = 3  # not 1, which broadcasts; small, so that a trial is fast
LARGER = (2, 1, 8, 16, 32, 64)
WINDOWS = (80, 160, 256, 320, 400, 480, 512, 576, 640, 1024, 1536, 1600)  # samples of audio
MAX_TRIALS = 400
BUDGET_S = 20.0

Assignment = Mapping[str, int]  # the size of each variable
Runs = Callable[[Assignment], bool]  # whether the graph runs with these sizes


@dataclass(slots=True, frozen=True)
class Sizes:
    """Sizes with which a graph runs, and how they can change."""

    base: Assignment
    groups: tuple[frozenset[str], ...] = ()  # variables that change together; the others are fixed
    steps: tuple[int, ...] = field(default=())  # by group: how much larger its next size is

    def group(self, variable: str | None) -> int | None:
        """The group of a variable; None if its size is fixed."""
        return next((number for number, group in enumerate(self.groups) if variable in group), None)

    def grown(self, number: int, times: int = 1) -> Assignment:
        """The sizes, with one group `times` steps larger."""
        more = self.steps[number] * times
        return {name: size + more * (name in self.groups[number]) for name, size in self.base.items()}

    def resized(self, sizes: Mapping[int, int]) -> Assignment:
        """The sizes, with some groups of a given size."""
        return {
            name: sizes.get(-1 if (g := self.group(name)) is None else g, n) for name, n in self.base.items()
        }


def find_sizes(ports: list[Port], weight_sizes: list[int], runs: Runs) -> Sizes | None:
    """Sizes of the inputs' variables with which the graph runs; None if none was found."""
    variables = list(dict.fromkeys(name for port in ports for name in port.variables if name))
    literals = {size for port in ports for size in port.shape if _is_literal(size)}
    deadline = time.monotonic() + BUDGET_S
    trials = _trials(variables, sorted({int(size or 0) for size in literals}), weight_sizes)
    for trial in itertools.islice(trials, MAX_TRIALS):
        if runs(trial):
            return _with_groups(trial, runs)
        if time.monotonic() > deadline:
            break
    return None


def _is_literal(size: Size) -> bool:
    return isinstance(size, int) and size > 1


def _trials(variables: list[str], literals: list[int], weight_sizes: list[int]) -> Iterator[Assignment]:
    """All of one size; then some of a special size, the others generic; then all of larger sizes."""
    common = dict.fromkeys(variables, GENERIC)
    yield common
    if not variables:
        return
    special = list(dict.fromkeys((1, *literals, *weight_sizes[:40])))
    yield from (dict.fromkeys(variables, size) for size in (*LARGER[:2], *literals))
    for name, size in itertools.product(variables, special):
        yield common | {name: size}
    for count in range(2, min(len(variables), 6)):
        for names in itertools.islice(itertools.combinations(variables, count), 40):
            yield common | dict.fromkeys(names, 1)
    yield from (dict.fromkeys(variables, size) for size in LARGER[2:])
    for size, name in itertools.product(WINDOWS, variables):
        yield common | {name: size}
    for one, name, size in itertools.product(variables, variables, special[1:]):
        if one != name:
            yield common | {one: 1, name: size}


def _with_groups(base: Assignment, runs: Runs) -> Sizes:
    """The variables that can change, in the smallest groups."""
    groups: list[frozenset[str]] = []
    steps: list[int] = []
    for name in base:
        if any(name in group for group in groups):
            continue
        for step in (2, base[name]):
            group = _group(name, base, step, runs)
            if group:
                groups.append(group)
                steps.append(step)
                break
    return Sizes(base, tuple(groups), tuple(steps))


def _group(name: str, base: Assignment, step: int, runs: Runs) -> frozenset[str] | None:
    """The smallest group with this variable that can be `step` larger; None if there is none."""

    def can_grow(names: set[str]) -> bool:
        return runs({key: size + step * (key in names) for key, size in base.items()})

    if can_grow({name}):
        return frozenset({name})
    same = {key for key, size in base.items() if size == base[name]}
    if not can_grow(same):
        pairs = ({name, other} for other in sorted(same - {name}))
        return next((frozenset(pair) for pair in pairs if can_grow(pair)), None)
    for other in sorted(same - {name}):
        if can_grow(same - {other}):
            same = same - {other}
    return frozenset(same)
