"""The contestants of one load: start all, check their answers, measure each in turn, stop all.

    round 1  A B C     round 2  A B C     …     all servers run all the time, one is under load

It knows peers and servers, not what a load sends.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import cache, peers
from benchmarks.cache import FEATURES, Array, Model, Unavailable
from benchmarks.dialects import Call, Dialect
from benchmarks.peers import Peer
from benchmarks.process import Server
from benchmarks.results import US, Row

CHECK_SESSION = 9_000_000  # higher than every session of a load
Measure = Callable[[], dict[str, float]]


class WrongAnswer(Unavailable):
    """A peer's answer differs from ONNX Runtime's, so its speed is not comparable."""


@dataclass(slots=True)
class Options:
    """Options of the command line."""

    rounds: int
    seconds: float
    only: frozenset[str] = frozenset()  # lower-case words of peers' names; empty: all
    is_quick: bool = False
    console: Console = field(default_factory=lambda: terminal())
    versions: dict[str, str] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        """Whether a peer takes part."""
        return not self.only or any(word in name.lower() for word in self.only)


@dataclass(slots=True)
class Contestant:
    """A running peer."""

    peer: Peer
    server: Server
    work: Path

    def write_bodies(self, calls: Sequence[Call]) -> Path:
        """Write the calls' bodies in the peer's format, one a line."""
        path = self.work / "bodies"
        path.write_bytes(b"\n".join(self.peer.dialect.encode(call) for call in calls) + b"\n")
        return path


@dataclass(slots=True)
class Contest:
    """The contestants that started, and a row for each that could not."""

    running: list[Contestant]
    absent: list[Row]

    def run(self, options: Options, measures: dict[str, Measure]) -> list[Row]:
        """Measure each in every round, after one round of warm-up.

        Another server that fails keeps the figures that it has, with a note; a failure of ours is raised.
        """
        rows = {name: Row(name) for name in measures}
        for number in range(-1, options.rounds):
            for name, measure in measures.items():
                if rows[name].note:
                    continue
                try:
                    figures = measure()
                except (OSError, RuntimeError) as error:
                    if name.startswith(US):
                        raise
                    rows[name].note = f"failed in round {number + 1} of {options.rounds}: {error}".strip()
                    options.console.print(f"  [red]{name}: {rows[name].note}[/]")
                    continue
                if number >= 0:
                    rows[name].runs.append(figures)
                    options.console.print(f"  [dim]round {number + 1}  {name}: {_short(figures)}[/]")
        return list(rows.values()) + self.absent


def terminal() -> Console:
    """Standard output, wide enough for the tables when it goes into a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=132)


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A temporary folder on disk for logs, bodies and session stores."""
    with tempfile.TemporaryDirectory(prefix="run-", dir=cache.folder()) as folder:
        yield Path(folder)


@contextlib.contextmanager
def contest(options: Options, model: Model, chosen: Sequence[Peer], *, sessions: bool) -> Iterator[Contest]:
    """Start the chosen peers on one model; stop them at the end."""
    model.make()
    with workplace() as work, contextlib.ExitStack() as stack:
        started = Contest([], [])
        for peer in chosen:
            if not options.wants(peer.name):
                continue
            options.console.print(f"  [dim]starting {peer.name}[/]")
            try:
                started.running.append(_start(stack, options, peer, model, work, sessions))
            except Unavailable as error:
                started.absent.append(Row(peer.name, note=str(error)))
                options.console.print(f"  [red]{peer.name}: {error}[/]")
        yield started


def check(peer: Peer, server: Server, model: Model, *, sessions: bool) -> None:
    """Compare answers with ONNX Runtime's, in one request and step by step. Raises WrongAnswer."""
    if not peer.has_model:
        return
    tolerance = 0.05 if model.int8 else 1e-4
    for steps in (1, 7, 40):
        x = sequence(steps, seed=steps)
        _compare(post(server, peer.dialect, Call(x)), model.answer(x), tolerance)
    if sessions and peer.has_sessions:
        for step in range(7):
            call = Call(sequence(7, seed=7)[step : step + 1], CHECK_SESSION, is_first=step == 0)
            answer = post(server, peer.dialect, call)
        _compare(answer, model.answer(sequence(7, seed=7)), tolerance)


def post(server: Server, dialect: Dialect, call: Call) -> Array:
    """Post one call; its answer. Raises WrongAnswer for a status other than 200."""
    status, body = server.post(dialect.path, dialect.encode(call))
    if status != 200:
        raise WrongAnswer(f"answers {status}: {body[:200]!r}")
    return dialect.decode(body)


def sequence(steps: int, *, seed: int) -> Array:
    """Random features with six decimals, as they are sent: [time, features]."""
    x = np.random.default_rng(seed).standard_normal((steps, FEATURES), np.float32)
    return np.round(x.astype(np.float64), 6).astype(np.float32)


def _start(
    stack: contextlib.ExitStack, options: Options, peer: Peer, model: Model, work: Path, sessions: bool
) -> Contestant:
    home = work / f"{len(list(work.iterdir()))}"
    home.mkdir()
    server = peer.start(model, home)
    stack.callback(server.stop)
    check(peer, server, model, sessions=sessions)
    if peer.name.startswith("Triton"):
        options.versions["triton"] = peers.version_of(server)
    return Contestant(peer, server, home)


def _compare(answer: Array, expected: Array, tolerance: float) -> None:
    if answer.shape != expected.shape or not np.allclose(answer, expected, atol=tolerance, rtol=0):
        raise WrongAnswer(f"answers {answer.tolist()}, ONNX Runtime {expected.tolist()}")


def _short(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:,.4g}" for name, value in figures.items())
