"""A history: the requests of one client for its session, and their faults, all drawn from a seed.

    name ─ life 1: utterance, cut into pieces ─ end ─ life 2: another utterance …
                    └ at, and for each piece: faults of each sending, copies through other servers,
                      its successor sent too early, itself or an older one repeated

A plan only: it knows no servers. `draw(seed, number)` is the same on every machine.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

import numpy as np

from service.sequence import Array

FEATURES = 12
MAX_PIECES, MAX_DELAY_S = 8, 0.03


class DriverName(StrEnum):
    """What sends a history; see `drivers`."""

    HTTP = "http"
    CLIENT = "client"
    STREAM = "stream"
    CLIENT_STREAM = "client-stream"
    TOKENS = "tokens"
    REWINDS = "rewinds"


STREAMS = (DriverName.STREAM, DriverName.CLIENT_STREAM)


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
    """A session from its first step to its last, or from a step that it was rewound to."""

    utterance: Array  # [time, features], also what was kept before its first piece
    pieces: tuple[Piece, ...]

    @property
    def ends(self) -> bool:
        """Whether its last piece ends the session."""
        return self.pieces[-1].is_end


@dataclass(frozen=True, slots=True)
class History:
    """All lives of one session name."""

    number: int
    driver: DriverName
    api: Literal["predict", "v2"]  # of requests by hand
    is_cut: bool  # it goes through the proxy that cuts connections at any byte
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


def draw(
    seed: int, number: int, example: Array, drivers: Sequence[DriverName] = tuple(DriverName)
) -> History:
    """History `number` of a seed. `example`: the model's example, [time, features]."""
    rng = random.Random(f"{seed}/{number}")
    driver = rng.choice(drivers)
    api: Literal["predict", "v2"] = rng.choice(("predict", "v2")) if driver is DriverName.HTTP else "predict"
    is_cut = driver in STREAMS or (driver is DriverName.CLIENT and rng.random() < 0.5)
    if driver is DriverName.REWINDS:
        lives = _draw_rewound(rng, example)
    elif driver is DriverName.TOKENS or (is_cut and driver is DriverName.CLIENT):  # see `_draw_life`
        lives = [_draw_life(rng, example, ends=False, is_only=True)]
    else:
        lives = _draw_lives(rng, example, api)
    if driver in STREAMS:
        lives = [_replace(life, keep_all=life.pieces[0].keep_all) for life in lives]
    if driver is DriverName.TOKENS:  # its successor needs the reply, and an older request is a branch
        lives = [_replace(life, brings_next=False, stale=None) for life in lives]
    return History(number, driver, api, is_cut, tuple(lives))


def _replace(life: Life, **changes: Any) -> Life:
    return Life(life.utterance, tuple(replace(piece, **changes) for piece in life.pieces))


def _draw_lives(rng: random.Random, example: Array, api: Literal["predict", "v2"]) -> list[Life]:
    """Each life but the last ends, or is replaced by the next."""
    num_lives = rng.choices((1, 2, 3), (70, 20, 10))[0]
    lives: list[Life] = []
    for index in range(num_lives):
        is_last = index == num_lives - 1
        # `/v2` can restart a session that is still live.
        ends = rng.random() < (0.3 if is_last else 1.0 if api == "predict" else 0.5)
        start: Literal["auto", "new", "restart"] = "auto"
        if api == "v2":
            start = "new" if not lives or lives[-1].ends else "restart"
        lives.append(_draw_life(rng, example, start=start, ends=ends, is_only=num_lives == 1))
    return lives


def _draw_rewound(rng: random.Random, example: Array) -> list[Life]:
    """Each life but the first continues from the begin or end of some piece before."""
    lives = [_draw_life(rng, example, ends=False, is_only=True)]
    steps = [piece.at for piece in lives[0].pieces]
    for _ in range(rng.choices((1, 2, 3), (50, 30, 20))[0]):
        before = lives[-1]
        step = rng.choice([*steps, before.pieces[-1].end])
        life = _draw_life(rng, example, ends=False, is_only=True, kept=before.utterance[:step])
        steps = [kept for kept in steps if kept < step] + [piece.at for piece in life.pieces]
        lives.append(life)
    return lives


def _draw_life(
    rng: random.Random,
    example: Array,
    *,
    ends: bool,
    is_only: bool,
    start: Literal["auto", "new", "restart"] = "auto",
    kept: Array | None = None,
) -> Life:
    """`kept`: the steps before its first piece, [time, features]."""
    steps = _draw_utterance(rng, example)
    num_kept = 0 if kept is None else len(kept)
    utterance = steps if kept is None else np.concatenate((kept, steps))
    num_pieces = rng.randint(1, min(MAX_PIECES, len(steps)))
    inner = rng.sample(range(num_kept + 1, len(utterance)), num_pieces - 1)
    cuts = [num_kept, *sorted(inner), len(utterance)]
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
