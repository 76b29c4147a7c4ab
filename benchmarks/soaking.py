"""Soak test: minutes of stateless and stateful requests above the capacity, in an open loop.

It samples the resident memory of every server process. Memory is flat if the mean of the last third is at
most 5 % above that of the second third. Of the requests that are answered, 99 % have their answer within 1.5
times `max_wait_ms`, counted from the time at which they are due; the others are refused.
"""

import threading
from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

import orjson
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks import loads, openloop, wrk
from benchmarks.cache import Unavailable
from benchmarks.contest import Contestant, Options, contest, sequence
from benchmarks.dialects import Call
from benchmarks.peers import CELLGATE
from benchmarks.process import Server
from service.settings import Settings

SAMPLE_S = 0.5
CONNECTIONS = 1024
FLAT = 1.05
PROMISE = 1.5  # of `max_wait_ms`
STATUS = {
    openloop.NO_ANSWER: "no answer before the end",
    openloop.NOT_SENT: "not sent, all connections busy",
}


def run(console: Console, *, minutes: float, times: float, out: Path) -> bool:
    """Soak; write soak.json and soak.png; return whether memory stayed flat and answers came in time.

    Raises Unavailable.
    """
    out.mkdir(parents=True, exist_ok=True)
    with contest(Options(1, 5, console=console), loads.LARGE, [CELLGATE], sessions=True) as started:
        if not started.running:
            raise Unavailable(started.absent[0].note)
        contestant = started.running[0]
        calls = _calls()
        bodies = contestant.write_bodies(calls)
        capacity = wrk.run(
            contestant.server, CELLGATE.dialect.path, bodies, seconds=5, connections=256
        ).requests_per_s
        rate = times * capacity
        console.print(f"capacity {capacity:.0f} requests/s; {minutes:g} minutes at {rate:.0f}")
        with _Sampler(contestant.server) as sampler:
            answers = _overload(contestant, calls, rate, minutes * 60)
    counts = dict(Counter(answer.status for answer in answers))
    waited = openloop.answered_ms(answers, 99) / Settings().max_wait_ms
    third = len(sampler.totals) // 3
    before, after = mean(sampler.totals[third : 2 * third]), mean(sampler.totals[2 * third :])
    is_flat = after <= FLAT * before
    report: dict[str, Any] = {"capacity": capacity, "rate": rate, "statuses": counts, "is_flat": is_flat}
    report |= {"waited": waited}
    report |= {"sample_s": SAMPLE_S, "rss_mb": sampler.totals, "growth": after / before - 1}
    (out / "soak.json").write_bytes(orjson.dumps(report, option=orjson.OPT_NON_STR_KEYS))
    _draw(out / "soak.png", sampler, f"{rate:.0f} requests/s, {times:g} times the capacity", is_flat)
    counted = ", ".join(
        f"{count:,} x {STATUS.get(status, status)}" for status, count in sorted(counts.items())
    )
    is_kept = waited <= PROMISE
    console.print(f"{counted}; memory {before:.0f} -> {after:.0f} MB: {'flat' if is_flat else 'NOT FLAT'}")
    console.print(f"answers: p99 {waited:.2f} x max_wait_ms: {'in time' if is_kept else 'TOO LATE'}")
    console.print(f"{out}/soak.json, {out}/soak.png")
    return is_flat and is_kept


def _calls() -> list[Call]:
    """Half of the requests belong to one of 200 sessions; a tenth of the others is long."""
    return [
        Call(sequence(1000 if i % 20 == 1 else 10, seed=i), i if i % 2 == 0 else None) for i in range(400)
    ]


def _overload(
    contestant: Contestant, calls: list[Call], rate: float, seconds: float
) -> list[openloop.Answer]:
    """The outcome of each request; NO_ANSWER and NOT_SENT are among the statuses."""
    dialect = contestant.peer.dialect
    payloads = [openloop.payload(dialect.path, dialect.encode(call)) for call in calls]
    dues = openloop.schedule([("any", 1.0, payloads)], rate=rate, seconds=seconds)
    return openloop.overload(contestant.server.port, dues, connections=CONNECTIONS)


class _Sampler(threading.Thread):
    """Records the resident memory of all processes every half second."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._stop_event = threading.Event()
        self.by_process: dict[int, list[float]] = {}  # MB
        self.totals: list[float] = []

    def __enter__(self) -> "_Sampler":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop_event.set()
        self.join()

    def run(self) -> None:
        """Sample until the block ends."""
        while not self._stop_event.wait(SAMPLE_S):
            sample = {pid: rss / 1e6 for pid, rss in self._server.rss_bytes().items()}
            for pid, rss in sample.items():
                self.by_process.setdefault(pid, [float("nan")] * len(self.totals)).append(rss)
            self.totals.append(sum(sample.values()))


def _draw(path: Path, sampler: _Sampler, title: str, is_flat: bool) -> None:
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panel = figure.subplots()
    times = [SAMPLE_S * number for number in range(len(sampler.totals))]
    for number, series in enumerate(sampler.by_process.values()):
        panel.plot(times[: len(series)], series, linewidth=1.2, label=f"process {number + 1}")
    panel.plot(times, sampler.totals, color="#0b6e4f", linewidth=2, label="all")
    panel.set_title(f"Resident memory: {title}: {'flat' if is_flat else 'not flat'}", loc="left", fontsize=10)
    panel.set_xlabel("seconds")
    panel.set_ylabel("MB")
    panel.set_ylim(bottom=0)
    panel.grid(color="#eceff3")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize=8, ncols=5, loc="lower right")
    figure.savefig(path, dpi=150)
