"""A history: the requests of one client for its session, and their faults, all drawn from a seed.

    name ─ life 1: utterance, cut into pieces ─ end ─ life 2: another utterance …
                    └ at, and for each piece: faults of each sending, copies through other servers,
                      its successor sent too early, itself or an older one repeated

A plan only: it knows no servers. `draw(seed, number)` is the same on every machine.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np

from service.sequence import Array

FEATURES = 12
MAX_PIECES, MAX_DELAY_S = 8, 0.03


class Fault(StrEnum):
    """The fault that a proxy applies to one request."""

    NONE = "none"
    DELAY = "delay"  # forwarded later than others sent after it
    DOUBLE = "double"  # a second connection sends the same bytes at the same time
    LOSE_REQUEST = "lose-request"  # no byte of it reaches a server
    HALVE_REQUEST = "halve-request"  # half of it reaches a server
    LOSE_REPLY = "lose-reply"  # the server has committed, and its reply is dropped
    HALVE_REPLY = "halve-reply"  # half of it reaches the client
    HANG_UP = "hang-up"  # the whole request is sent, and the connection closed while the server works on it


# Faults after which the proxy knows when the server has finished the request; see `_draw_life`.
TRACKED = tuple(fault for fault in Fault if fault not in (Fault.NONE, Fault.HANG_UP))


@dataclass(frozen=True, slots=True)
class TimedFault:
    """A fault and its delay in seconds."""

    fault: Fault = Fault.NONE
    delay_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.fault} {self.delay_s:.4f}"

    @classmethod
    def parse(cls, text: str) -> "TimedFault":
        fault, delay_s = text.split()
        return cls(Fault(fault), float(delay_s))


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of an utterance that one request sends, and everything that happens around it."""

    at: int
    steps: Array  # [time, features] float64, as JSON writes it
    keep_all: bool  # "return": "all"
    is_end: bool
    start: Literal["auto", "new", "restart"]  # of `/v2`; "auto": the request has no `sequence_start`
    route: int  # of the first sending; each further one goes through the next proxy
    faults: tuple[TimedFault, ...]  # of the first sendings, in order
    copies: tuple[TimedFault, ...]  # sent at the same time, through other proxies
    brings_next: bool  # its successor is sent at the same time
    is_repeated: bool  # after its reply, before its successor
    stale: int | None  # the older piece that is repeated after its reply
    waits: bool  # until no server works on an earlier request

    @property
    def end(self) -> int:
        """The step after it."""
        return self.at + len(self.steps)


@dataclass(frozen=True, slots=True)
class Life:
    """A session from its first step to its last."""

    utterance: Array  # [time, features]
    pieces: tuple[Piece, ...]

    @property
    def ends(self) -> bool:
        """Whether its last piece ends the session."""
        return self.pieces[-1].is_end


@dataclass(frozen=True, slots=True)
class History:
    """All lives of one session name."""

    number: int
    api: Literal["predict", "v2"]
    lives: tuple[Life, ...]

    @property
    def sequence_id(self) -> int | str:
        """The sequence id for `/v2`."""
        return self.number + 1 if self.number % 2 else f"faults {self.number}"

    @property
    def session(self) -> str:
        """The session's name in `/sessions`."""
        if self.api == "predict":
            return f"faults-{self.number}"
        kind = "" if isinstance(self.sequence_id, int) else "s/"
        return f"v2/vowels/{kind}{self.sequence_id}"


def draw(seed: int, number: int, example: Array) -> History:
    """History `number` of a seed. `example`: the model's example, [time, features]."""
    rng = random.Random(f"{seed}/{number}")
    api: Literal["predict", "v2"] = rng.choice(("predict", "v2"))
    num_lives = rng.choices((1, 2, 3), (70, 20, 10))[0]
    lives: list[Life] = []
    for index in range(num_lives):
        is_last = index == num_lives - 1
        # `/v2` can restart a session that is still live.
        ends = rng.random() < (0.3 if is_last else 1.0 if api == "predict" else 0.5)
        start: Literal["auto", "new", "restart"] = "auto"
        if api == "v2":
            start = "new" if not lives or lives[-1].ends else "restart"
        lives.append(_draw_life(rng, example, start, ends=ends, is_only=num_lives == 1))
    return History(number, api, tuple(lives))


def _draw_life(
    rng: random.Random,
    example: Array,
    start: Literal["auto", "new", "restart"],
    *,
    ends: bool,
    is_only: bool,
) -> Life:
    utterance = _draw_utterance(rng, example)
    num_pieces = rng.randint(1, min(MAX_PIECES, len(utterance)))
    cuts = [0, *sorted(rng.sample(range(1, len(utterance)), num_pieces - 1)), len(utterance)]
    # An untracked copy could arrive after the end, where its `at: 0` starts a new session. With one number no
    # protocol can distinguish it from a client that wants to start again, so a history leaves none.
    kinds = TRACKED if ends or not is_only else (*TRACKED, Fault.HANG_UP)
    pieces = []
    for index in range(num_pieces):
        is_first, is_end = index == 0, ends and index == num_pieces - 1
        resets = is_first and start == "restart"
        next_ends = ends and index == num_pieces - 2
        brings_next = not resets and not next_ends and index < num_pieces - 1 and rng.random() < 0.1
        oldest = 1 if start == "restart" else 0  # a repeated restart is a restart
        can_be_stale = index > oldest and not is_end and rng.random() < 0.15
        pieces.append(
            Piece(
                at=cuts[index],
                steps=utterance[cuts[index] : cuts[index + 1]],
                keep_all=rng.random() < 0.5,
                is_end=is_end,
                start=start if is_first else "auto",
                route=rng.randrange(64),
                faults=tuple(_draw_fault(rng, kinds) for _ in range(rng.randint(1, 3))),
                copies=tuple(_draw_fault(rng, kinds) for _ in range(rng.choices((0, 1, 3), (75, 18, 7))[0])),
                brings_next=brings_next,
                is_repeated=not brings_next and rng.random() < 0.1,
                stale=rng.randrange(oldest, index) if can_be_stale else None,
                waits=is_end or (is_first and not is_only) or (start == "restart" and index == 1),
            )
        )
    return Life(utterance, tuple(pieces))


def _draw_utterance(rng: random.Random, example: Array) -> Array:
    """Part of the example, noise, or both; never the same twice."""
    noise = np.random.default_rng(rng.getrandbits(64)).normal(size=(rng.randint(1, 30), FEATURES))
    begin = rng.randrange(len(example))
    parts = ([noise], [example[begin:], noise], [noise, example[begin:]])[rng.randrange(3)]
    utterance: Array = np.concatenate(parts).round(3)
    return utterance


def _draw_fault(rng: random.Random, kinds: tuple[Fault, ...]) -> TimedFault:
    fault = Fault.NONE if rng.random() < 0.65 else rng.choice(kinds)
    return TimedFault(fault, rng.random() * MAX_DELAY_S)
