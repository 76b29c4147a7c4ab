"""A history: what one client does with its session, and what befalls it, all drawn from a seed.

    name ─ life 1: utterance, cut into pieces ─ end ─ life 2: another one …
                    └ at, and per piece: faults of each sending, copies through other servers,
                      its successor sent too early, itself or an older one sent again

A plan alone: it knows no servers. `draw(seed, number)` is the same on every machine.
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
    """What a proxy does to one request."""

    NONE = "none"
    DELAY = "delay"  # later than others sent after it
    DOUBLE = "double"  # a second connection brings the same bytes again, at the same time
    LOSE_REQUEST = "lose-request"  # no byte of it reaches a server
    HALVE_REQUEST = "halve-request"  # half of it does
    LOSE_REPLY = "lose-reply"  # the server has committed, and its reply is dropped
    HALVE_REPLY = "halve-reply"  # half of it arrives
    HANG_UP = "hang-up"  # the whole request is sent, and the connection cut while the server is at work


# Those after which we know when the server is done with the request; see `_draw_life`.
TRACKED = tuple(fault for fault in Fault if fault not in (Fault.NONE, Fault.HANG_UP))


@dataclass(frozen=True, slots=True)
class Blow:
    """A fault, with the seconds it takes."""

    fault: Fault = Fault.NONE
    delay_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.fault} {self.delay_s:.4f}"

    @classmethod
    def parse(cls, text: str) -> "Blow":
        fault, delay_s = text.split()
        return cls(Fault(fault), float(delay_s))


@dataclass(frozen=True, slots=True)
class Piece:
    """One request's part of an utterance, and all that happens around it."""

    at: int
    steps: Array  # [time, features] float64, as JSON writes it
    keep_all: bool  # "return": "all"
    is_end: bool
    start: Literal["auto", "new", "restart"]  # of `/v2`; "auto": it does not say
    route: int  # of the first sending; each further one goes through the next proxy
    blows: tuple[Blow, ...]  # of the first sendings, one after the other
    copies: tuple[Blow, ...]  # sent at the same time, through other proxies
    brings_next: bool  # its successor is sent at the same time
    is_asked_again: bool  # after its reply, before its successor
    stale: int | None  # the older piece that is sent again after its reply
    waits: bool  # until no server is at work on anything sent before

    @property
    def end(self) -> int:
        """The step after it."""
        return self.at + len(self.steps)


@dataclass(frozen=True, slots=True)
class Life:
    """A session from its first step on."""

    utterance: Array  # [time, features]
    pieces: tuple[Piece, ...]

    @property
    def ends(self) -> bool:
        """Whether its last piece says so."""
        return self.pieces[-1].is_end


@dataclass(frozen=True, slots=True)
class History:
    """One client's life with one name."""

    number: int
    face: Literal["predict", "v2"]
    lives: tuple[Life, ...]

    @property
    def sequence_id(self) -> int | str:
        """Of `/v2`."""
        return self.number + 1 if self.number % 2 else f"faults {self.number}"

    @property
    def session(self) -> str:
        """The session's name, as `/sessions` has it."""
        if self.face == "predict":
            return f"faults-{self.number}"
        kind = "" if isinstance(self.sequence_id, int) else "s/"
        return f"v2/vowels/{kind}{self.sequence_id}"


def draw(seed: int, number: int, example: Array) -> History:
    """History `number` of a seed. `example`: [time, features], somebody's vowels."""
    rng = random.Random(f"{seed}/{number}")
    face: Literal["predict", "v2"] = rng.choice(("predict", "v2"))
    num_lives = rng.choices((1, 2, 3), (70, 20, 10))[0]
    lives: list[Life] = []
    for index in range(num_lives):
        is_last = index == num_lives - 1
        # A name of `/v2` can be taken from a session that is still live.
        ends = rng.random() < (0.3 if is_last else 1.0 if face == "predict" else 0.5)
        start: Literal["auto", "new", "restart"] = "auto"
        if face == "v2":
            start = "new" if not lives or lives[-1].ends else "restart"
        lives.append(_draw_life(rng, example, start, ends=ends, is_only=num_lives == 1))
    return History(number, face, tuple(lives))


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
    # A copy that nobody knows of could come after the end, where its `at: 0` begins a session anew. No
    # protocol with one number can tell it from a client that wants just that, so none is left behind here.
    faults = TRACKED if ends or not is_only else (*TRACKED, Fault.HANG_UP)
    pieces = []
    for index in range(num_pieces):
        is_first, is_end = index == 0, ends and index == num_pieces - 1
        resets = is_first and start == "restart"
        next_ends = ends and index == num_pieces - 2
        brings_next = not resets and not next_ends and index < num_pieces - 1 and rng.random() < 0.1
        oldest = 1 if start == "restart" else 0  # a restart sent again is one
        can_be_stale = index > oldest and not is_end and rng.random() < 0.15
        pieces.append(
            Piece(
                at=cuts[index],
                steps=utterance[cuts[index] : cuts[index + 1]],
                keep_all=rng.random() < 0.5,
                is_end=is_end,
                start=start if is_first else "auto",
                route=rng.randrange(64),
                blows=tuple(_draw_blow(rng, faults) for _ in range(rng.randint(1, 3))),
                copies=tuple(_draw_blow(rng, faults) for _ in range(rng.choices((0, 1, 3), (75, 18, 7))[0])),
                brings_next=brings_next,
                is_asked_again=not brings_next and rng.random() < 0.1,
                stale=rng.randrange(oldest, index) if can_be_stale else None,
                waits=is_end or (is_first and not is_only) or (start == "restart" and index == 1),
            )
        )
    return Life(utterance, tuple(pieces))


def _draw_utterance(rng: random.Random, example: Array) -> Array:
    """Part of the example, or noise, or one after the other; never the same twice."""
    noise = np.random.default_rng(rng.getrandbits(64)).normal(size=(rng.randint(1, 30), FEATURES))
    begin = rng.randrange(len(example))
    parts = ([noise], [example[begin:], noise], [noise, example[begin:]])[rng.randrange(3)]
    utterance: Array = np.concatenate(parts).round(3)
    return utterance


def _draw_blow(rng: random.Random, faults: tuple[Fault, ...]) -> Blow:
    fault = Fault.NONE if rng.random() < 0.65 else rng.choice(faults)
    return Blow(fault, rng.random() * MAX_DELAY_S)
