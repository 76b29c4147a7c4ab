"""Profile of a worker: py-spy samples one server process under a closed loop, by self time."""

import subprocess
import time
from collections import Counter, defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import cache, loads, wrk
from benchmarks.cache import Unavailable
from benchmarks.contest import Options, contest
from benchmarks.peers import CELLGATE, Peer, serve_cellgate

STEPS = {"a": 1, "b": 20, "c": 200}


def run(console: Console, load: str, *, seconds: float, top: int) -> None:
    """Load a server of one worker, sample it, print the table. Raises Unavailable."""
    spy = cache.environment() / "bin/py-spy"
    peer = Peer(
        CELLGATE.name,
        lambda model, work: serve_cellgate(model, work, workers=1),
        CELLGATE.dialect,
        True,
    )
    with contest(Options(1, seconds, console=console), loads.SMALL, [peer], sessions=True) as started:
        if not started.running:
            raise Unavailable(started.absent[0].note)
        contestant = started.running[0]
        bodies = contestant.write_bodies(loads.calls(STEPS[load], load == "a"))
        raw = contestant.work / "profile.txt"
        command = [spy, "record", "--native", "--format", "raw", "--rate", "200", "--output", raw]
        command += ["--pid", str(contestant.server.process.pid), "--duration", str(round(seconds))]
        sampler = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        time.sleep(0.5)
        figures = wrk.run(contestant.server, peer.dialect.path, bodies, seconds=seconds + 1)
        _, errors = sampler.communicate()
        if not raw.is_file():
            raise Unavailable(f"py-spy: {errors.decode(errors='replace').strip()[-300:]}")
        console.print(
            f"load ({load}): {figures.requests_per_s:,.0f} requests/s with one worker, sampled, "
            f"{figures.server_cpu_us:.0f} us of CPU a request, {figures.errors} errors"
        )
        console.print(_table(raw, top))


def _table(raw: Path, top: int) -> Table:
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    callers: dict[str, Counter[str]] = defaultdict(Counter)
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_short(frame) for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        callers[frames[-1]][_python_caller(frames)] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    total = sum(own.values()) or 1
    table = Table(title=f"{total} samples", title_justify="left")
    for name in ("function", "self", "with callees", "mostly for"):
        table.add_column(name, justify="right" if name in ("self", "with callees") else "left")
    for name, samples in own.most_common(top):
        caller = callers[name].most_common(1)[0][0]
        table.add_row(name, f"{samples / total:.1%}", f"{whole[name] / total:.1%}", caller)
    return table


def _python_caller(frames: list[str]) -> str:
    """The nearest Python function above the last frame: the caller of a C function."""
    return next((frame for frame in reversed(frames[:-1]) if frame.endswith(".py)")), "")


def _short(frame: str) -> str:
    """`name (file:line)` without the line, so that each function is one row."""
    name, _, place = frame.rpartition(" (")
    return f"{name} ({Path(place.partition(':')[0].rstrip(')')).name[:40]})" if name else frame
