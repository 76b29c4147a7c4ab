"""The earlier states of a session that it can be rewound to, and how often it was rewound.

    rewinds  every  last  number   step, size of each   states, oldest first
    8        8      4     4        8 + 4                sizes before

Numbers are little-endian. It knows steps and bytes; it knows nothing of models, requests or retries.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

_HEADER = struct.Struct("<QQII")
_ENTRY = struct.Struct("<QI")


class Checkpoint(NamedTuple):
    """A state, and the number of time steps that led to it."""

    step: int
    state: bytes


@dataclass(slots=True, frozen=True)
class HistoryLimits:
    """Bounds on the checkpoints of one session."""

    max_checkpoints: int = 64
    max_bytes: int = 4 << 20  # of their states together


@dataclass(slots=True, frozen=True)
class HistoryRule:
    """Which states a session keeps: at most the `last` ones.

    `every` 0: the state before each request. Otherwise the first state at or after each multiple of `every`
    steps.
    """

    last: int = 0
    every: int = 0


@dataclass(slots=True, frozen=True)
class History(HistoryRule):
    """What a session keeps of its past. The current state is in the record, not here."""

    rewinds: int = 0  # how often the session was rewound
    checkpoints: tuple[Checkpoint, ...] = ()  # in order of step

    @property
    def num_bytes(self) -> int:
        """The sizes of all states together."""
        return sum([len(checkpoint.state) for checkpoint in self.checkpoints])

    @property
    def is_empty(self) -> bool:
        """Whether it is that of a session that has never had one."""
        return not (self.last or self.rewinds)

    def add(self, passed: Iterable[Checkpoint], max_bytes: int) -> Self:
        """With the states that the session has passed, in order, as far as they are to be kept."""
        kept = list(self.checkpoints)
        for checkpoint in passed:
            if self._keeps(kept[-1].step if kept else None, checkpoint.step):
                kept.append(checkpoint)
        return self._with(kept, max_bytes)

    def by(self, rule: HistoryRule, max_bytes: int) -> Self:
        """By another rule, with the checkpoints that it leaves."""
        return replace(self, last=rule.last, every=rule.every)._with(list(self.checkpoints), max_bytes)

    def before(self, step: int) -> Self:
        """Without the checkpoints at `step` and later."""
        return replace(self, checkpoints=tuple(each for each in self.checkpoints if each.step < step))

    def multiples(self, start: int, stop: int) -> range:
        """The last steps between `start` and `stop`, without the two, whose states are to be kept."""
        if not (self.every and self.last):
            return range(0)
        first = start // self.every + 1
        end = (stop - 1) // self.every + 1
        return range(max(first, end - self.last) * self.every, end * self.every, self.every)

    def _keeps(self, newest: int | None, step: int) -> bool:
        if newest is None:
            return True
        return step > newest if not self.every else step // self.every > newest // self.every

    def _with(self, checkpoints: list[Checkpoint], max_bytes: int) -> Self:
        """With the newest of these that are within the bounds."""
        kept = checkpoints[-self.last :] if self.last else []
        size = sum([len(checkpoint.state) for checkpoint in kept])
        surplus = 0
        while size > max_bytes:
            size -= len(kept[surplus].state)
            surplus += 1
        return replace(self, checkpoints=tuple(kept[surplus:]))

    def pack(self) -> bytes:
        """As bytes."""
        header = _HEADER.pack(self.rewinds, self.every, self.last, len(self.checkpoints))
        entries = [_ENTRY.pack(step, len(state)) for step, state in self.checkpoints]
        return b"".join((header, *entries, *[state for _, state in self.checkpoints]))

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Undo `pack`. Raises ValueError if it is not what `pack` returns."""
        try:
            rewinds, every, last, number = _HEADER.unpack_from(packed)
            entries = [
                _ENTRY.unpack_from(packed, _HEADER.size + _ENTRY.size * place) for place in range(number)
            ]
        except struct.error as error:
            raise ValueError(f"the history has {len(packed)} bytes") from error
        at = _HEADER.size + _ENTRY.size * number
        checkpoints = []
        for step, size in entries:
            checkpoints.append(Checkpoint(step, packed[at : at + size]))
            at += size
        if at != len(packed):
            raise ValueError(f"the history has {len(packed)} bytes, its header says {at}")
        return cls(last, every, rewinds, tuple(checkpoints))
