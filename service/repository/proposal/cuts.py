"""Compares a sequence that is run whole with the same sequence in pieces, the states carried over.

It decides whether a graph may be cut, and which output is the new value of which state.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from service.repository.probe import Port, ProbeError
from service.repository.proposal.axes import Layout
from service.repository.proposal.sizes import GENERIC, Assignment
from service.repository.proposal.subject import Subject
from service.sequence import Array

SEEDS = (1, 2)
Feeds = dict[str, Array]


@dataclass(slots=True, frozen=True)
class Cutter:
    """A graph whose time axis can have several sizes."""

    subject: Subject
    group: int  # of the sizes that change with time

    @classmethod
    def of(cls, subject: Subject, port: Port, layout: Layout) -> "Cutter | None":
        """None if the input has no time axis, or one of fixed size."""
        group = None if layout.time is None else subject.input_groups(port)[layout.time]
        return None if group is None else cls(subject, group)

    def agrees(self, pairs: Mapping[str, str]) -> bool:
        """Whether a whole run equals one in pieces, with these outputs as new states of these inputs."""
        return any(all(self._agrees(pieces, pairs, seed) for seed in SEEDS) for pieces in self._splits())

    @property
    def has_steps(self) -> bool:
        """Whether some output has a time axis."""
        return any(self.group in self.subject.output_groups(port.name) for port in self.subject.probe.outputs)

    def keeps_prefixes(self) -> bool:
        """Whether the answers to the first steps are the same without the steps after them."""
        for pieces in self._splits() if self.has_steps else ():
            whole = self._feeds(sum(pieces), 1)
            expected, part = self.subject.run(whole), self.subject.run(self._piece(whole, 0, pieces[0]))
            return all(
                self.subject.is_same(y, self._first(name, expected[name], y))
                for name, y in part.items()
                if name not in self.subject.echoes
            )
        return False

    def _first(self, name: str, whole: Array, part: Array) -> Array:
        """As many steps of an output as `part` has; what has no time axis is not compared."""
        groups = self.subject.output_groups(name)
        if self.group not in groups:
            return part
        axis = groups.index(self.group)
        return whole[(*[slice(None)] * axis, slice(0, part.shape[axis]))]

    def _splits(self) -> list[tuple[int, ...]]:
        """The first split that runs at all, as a list of one; none if no split does."""
        base = self._size()
        for pieces in ((4, 2, 1), (4, 3), (base, base)) if base == GENERIC else ((base, base),):
            try:
                for steps in {*pieces, sum(pieces)}:
                    self.subject.run(self._feeds(steps, 0))
            except ProbeError:
                continue
            return [pieces]
        return []

    def _size(self) -> int:
        name = next(iter(self.subject.sizes.groups[self.group]))
        return self.subject.sizes.base[name]

    def _sizes(self, steps: int) -> Assignment:
        return self.subject.sizes.resized({self.group: steps})

    def _feeds(self, steps: int, seed: int) -> Feeds:
        return self.subject.feeds(self._sizes(steps), seed=seed, lengths=steps)

    def _agrees(self, pieces: tuple[int, ...], pairs: Mapping[str, str], seed: int) -> bool:
        whole = self._feeds(sum(pieces), seed)
        states = {name: whole[name] for name in pairs}
        parts: list[Feeds] = []
        start = 0
        try:
            expected = self.subject.run(whole)
            for steps in pieces:
                parts.append(self.subject.run(self._piece(whole, start, steps) | states))
                states = {name: parts[-1][output] for name, output in pairs.items()}
                start += steps
        except ProbeError:
            return False
        return all(
            self.subject.is_same(self._joined(name, [part[name] for part in parts], pairs), y)
            for name, y in expected.items()
            if name not in self.subject.echoes and (name not in pairs.values() or y.dtype.kind == "f")
        )

    def _piece(self, whole: Feeds, start: int, steps: int) -> Feeds:
        """The inputs of some steps; those without a time axis as they are."""
        piece = dict(whole)
        for port in self.subject.ports:
            groups = self.subject.input_groups(port)
            if port.name == self.subject.lengths:
                piece[port.name] = np.full_like(whole[port.name], steps)
            elif self.group in groups:
                place = (*[slice(None)] * groups.index(self.group), slice(start, start + steps))
                piece[port.name] = np.ascontiguousarray(whole[port.name][place])
        return piece

    def _joined(self, name: str, parts: list[Array], pairs: Mapping[str, str]) -> Array:
        """The answers of all pieces, or the last one if the output is a state or has no time axis."""
        groups = self.subject.output_groups(name)
        if self.group not in groups or name in pairs.values():
            return parts[-1]
        joined: Array = np.concatenate(parts, axis=groups.index(self.group))
        return joined
