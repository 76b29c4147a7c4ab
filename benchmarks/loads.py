"""The loads (a) to (g): requests, contestants, and target ratios."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from benchmarks import kernel, openloop, seeding, wrk
from benchmarks.cache import Array, Model
from benchmarks.contest import Contest, Contestant, Measure, Options, contest, post, sequence
from benchmarks.dialects import Call, encode_bulk
from benchmarks.peers import CELLGATE, CORES, PEERS, Peer
from benchmarks.results import KERNEL, LIMIT, US, Result, Row

SMALL, LARGE = Model(128, 1), Model(512, 2)
SESSIONS = 64
SEQUENCE, DYNAMIC, TUTORIAL, FLOOR = (peer.name for peer in PEERS[1:])
TRITON_BEST = "Triton, the better batcher"


def stateful(options: Options) -> Result:
    """(a) One step of one of 64 sessions a request."""
    result = _closed(options, "a", "stateful, 1 step, 64 sessions, durable LMDB", 1, sessions=True)
    result.targets[SEQUENCE] = 1.5
    result.notes.append(
        "Triton's dynamic batcher, the tutorial and the limit keep no state: each step starts from zero."
    )
    return result


def short(options: Options) -> Result:
    """(b) 20 steps."""
    return _closed(options, "b", "stateless, 20 steps", 20, triton=1.5)


def long(options: Options) -> Result:
    """(c) 200 steps."""
    return _closed(options, "c", "stateless, 200 steps", 200, triton=1.4)


def mixed(options: Options) -> Result:
    """(d) Open loop: the latency of short sequences among long ones."""
    with contest(options, LARGE, [peer for peer in PEERS if peer.has_model], sessions=False) as started:
        capacity = _capacities(options, started)
        rate = min(capacity.values(), default=1.0) / 2
        seconds = max(10.0, 4 * options.seconds)
        rows = started.run(
            options,
            {c.peer.name: _open_measure(c, rate, seconds) for c in started.running},
        )
    title = f"mixed 10/1,000 steps, 2 x 512, open loop at {rate:.1f} requests/s: p99 of the short ones"
    result = Result("d", title, "short_p99_ms", rows, lower_is_better=True)
    _add_better_triton(result, 15.0)
    listed = ", ".join(f"{name} {value:.0f}" for name, value in capacity.items())
    result.notes.append(
        f"The rate is half of the lowest capacity, so no server is overloaded. Capacities: {listed}."
    )
    return result


def bulk(options: Options) -> Result:
    """(e) 512 sequences of 100 steps in one request."""
    batch, steps = 512, 100
    x = np.stack([sequence(steps, seed=row) for row in range(batch)])
    with contest(options, SMALL, [CELLGATE], sessions=False) as started:
        measures: dict[str, Measure] = {}
        for contestant in started.running:
            for name, connections in ((US, 1), (f"Cellgate, {2 * CORES} at once", 2 * CORES)):
                measures[name] = _bulk_measure(options, contestant, x, connections)
        rows = started.run(options, measures)
    for name, processes in ((f"{KERNEL}, 1 core", 1), (f"{KERNEL}, {CORES} cores", CORES)):
        best = max(kernel.sweep(SMALL, steps, processes=processes, seconds=_kernel_s(options)).values())
        rows.append(Row(name, [{"steps_per_s": best}]))
    result = Result("e", f"bulk, {batch} sequences of {steps} steps a request, binary", "steps_per_s", rows)
    result.targets[f"{KERNEL}, {CORES} cores"] = 0.85
    result.notes.append("A single request runs on its worker's core and on the core of an idle worker.")
    return result


def int8(options: Options) -> Result:
    """(f) The mixed load's model, INT8 against float32, closed loop."""
    rows: list[Row] = []
    whole, small = LARGE, Model(LARGE.hidden, LARGE.layers, int8=True)
    calls = _mixed_calls()
    with (
        contest(options, whole, [CELLGATE], sessions=False) as first,
        contest(options, small, [CELLGATE], sessions=False) as second,
    ):
        measures = {}
        for name, started in (("Cellgate, float32", first), ("Cellgate, INT8", second)):
            for contestant in started.running:
                measures[name] = closed_measure(options, contestant, calls)
        rows = first.run(options, measures) + second.absent
    for name, model in ((f"{KERNEL}, float32", whole), (f"{KERNEL}, INT8", small)):
        best = max(kernel.sweep(model, 20, processes=CORES, seconds=_kernel_s(options)).values())
        rows.append(Row(name, [{"requests_per_s": best / _mean_steps(calls)}]))
    result = Result("f", "INT8 of (d)'s model", "requests_per_s", rows, baseline="Cellgate, INT8")
    result.targets["Cellgate, float32"] = 1.8
    return result


def many_sessions(options: Options) -> Result:
    """(g) One step of a random session among many live ones."""
    counts = (1_000, 10_000) if options.is_quick else (1_000, 100_000, 1_000_000)
    chosen = [Peer(f"Cellgate, {n:,} sessions", CELLGATE.start, CELLGATE.dialect, True) for n in counts]
    with contest(options, SMALL, chosen, sessions=True) as started:
        measures = {}
        for contestant, count in zip(started.running, counts, strict=False):
            options.console.print(f"  [dim]creating {count:,} sessions[/]")
            seeding.create(contestant.server, contestant.work / "sessions", count)
            calls = [Call(sequence(1, seed=i), seeding.PLACEHOLDER) for i in range(64)]
            measures[contestant.peer.name] = closed_measure(options, contestant, calls, sessions=count)
        rows = started.run(options, measures)
    result = Result("g", "stateful, 1 step, live sessions", "requests_per_s", rows)
    result.baseline = chosen[-1].name
    result.targets[chosen[0].name] = round(1 / 1.3, 2)
    result.notes.append("Triton is not measured: it needs a slot in memory for each session.")
    return result


LOADS: dict[str, Callable[[Options], Result]] = {
    "a": stateful,
    "b": short,
    "c": long,
    "d": mixed,
    "e": bulk,
    "f": int8,
    "g": many_sessions,
}


def _closed(
    options: Options, key: str, title: str, steps: int, *, sessions: bool = False, triton: float | None = None
) -> Result:
    with contest(options, SMALL, PEERS, sessions=sessions) as started:
        measures = {}
        for contestant in started.running:
            sent = calls(steps, sessions and contestant.peer.has_sessions)
            if sent[0].session is not None:
                begin_sessions(contestant)
            measures[contestant.peer.name] = closed_measure(options, contestant, sent)
        rows = started.run(options, measures)
    result = Result(key, title, "requests_per_s", rows)
    result.targets[TUTORIAL] = 5.0
    if triton is not None:
        _add_better_triton(result, triton)
    _add_limit(options, result, steps)
    return result


def calls(steps: int, sessions: bool) -> list[Call]:
    """Distinct bodies; sessions in turn, so that one rarely has two concurrent requests."""
    count = 8 * SESSIONS if steps < 100 else SESSIONS
    return [Call(sequence(steps, seed=i), i % SESSIONS if sessions else None) for i in range(count)]


def _mixed_calls() -> list[Call]:
    return [Call(sequence(1000 if i % 10 == 5 else 10, seed=i)) for i in range(100)]


def _mean_steps(calls: Sequence[Call]) -> float:
    return sum(len(call.x) for call in calls) / len(calls)


def begin_sessions(contestant: Contestant) -> None:
    """The first step of each session, for servers that need a start flag."""
    for session in range(SESSIONS):
        call = Call(sequence(1, seed=session), session, is_first=True)
        post(contestant.server, contestant.peer.dialect, call)


def closed_measure(
    options: Options, contestant: Contestant, calls: Sequence[Call], sessions: int | None = None
) -> Measure:
    """A run of wrk with these bodies; with `sessions`, for random sessions below that number."""
    bodies = contestant.write_bodies(calls)
    path = contestant.peer.dialect.path
    seeds = iter(range(1, 1000))

    def measure() -> dict[str, float]:
        return asdict(
            wrk.run(
                contestant.server,
                path,
                bodies,
                seconds=options.seconds,
                sessions=sessions,
                seed=next(seeds),
            )
        )

    return measure


def _bulk_measure(options: Options, contestant: Contestant, x: Array, connections: int) -> Measure:
    """[batch, time, features] as one binary tensor."""
    body, json_length = encode_bulk(x)
    path = contestant.work / "bulk"
    path.write_bytes(body)
    seconds = max(3.0, options.seconds)

    def measure() -> dict[str, float]:
        figures = wrk.run(
            contestant.server,
            f"/v2/models/{SMALL.name}/infer",
            path,
            seconds=seconds,
            connections=connections,
            json_length=json_length,
        )
        return {"steps_per_s": figures.requests_per_s * x.shape[0] * x.shape[1], **asdict(figures)}

    return measure


def _capacities(options: Options, started: Contest) -> dict[str, float]:
    """Requests per second of each contestant under the mixed bodies, closed loop."""
    return {
        contestant.peer.name: closed_measure(options, contestant, _mixed_calls())()["requests_per_s"]
        for contestant in started.running
    }


def _open_measure(contestant: Contestant, rate: float, seconds: float) -> Measure:
    dialect = contestant.peer.dialect
    kinds = []
    for name, share, steps in (("short", 0.9, 10), ("long", 0.1, 1000)):
        bodies = [dialect.encode(Call(sequence(steps, seed=i))) for i in range(64)]
        kinds.append((name, share, [openloop.payload(dialect.path, body) for body in bodies]))
    dues = openloop.schedule(kinds, rate=rate, seconds=seconds)

    def measure() -> dict[str, float]:
        answers = openloop.run(contestant.server.port, dues, connections=256)
        figures = {
            f"{kind}_p{percent}_ms": openloop.percentile_ms(answers, kind, percent)
            for kind in ("short", "long")
            for percent in (50, 99)
        }
        figures["errors"] = sum(answer.status != 200 for answer in answers)
        figures["sent_late_p99_ms"] = float(np.percentile([answer.lag_s for answer in answers], 99)) * 1e3
        return figures

    return measure


def _add_better_triton(result: Result, target: float) -> None:
    """The target applies to the better of Triton's batchers."""
    rows = [row for row in map(result.row, (SEQUENCE, DYNAMIC)) if row.runs]
    if not rows:
        return
    pick = min if result.lower_is_better else max
    best = pick(rows, key=lambda row: row.median(result.figure) or 0.0)
    result.targets[best.name] = target


def _add_limit(options: Options, result: Result, steps: int) -> None:
    """The rate of all cores if a request cost only HTTP, JSON and the kernel at its best batch size."""
    per_s = kernel.sweep(SMALL, steps, processes=CORES, seconds=_kernel_s(options))
    batch = max(per_s, key=lambda size: per_s[size])
    kernel_us = CORES / per_s[batch] * steps * 1e6
    result.rows.append(Row(KERNEL, [{"requests_per_s": per_s[batch] / steps, "server_cpu_us": kernel_us}]))
    floor = result.row(FLOOR)
    server, client = floor.median("server_cpu_us"), floor.median("client_cpu_us")
    if server is None or client is None:
        return
    total = server + client + kernel_us
    result.rows.append(
        Row(LIMIT, [{"requests_per_s": CORES / total * 1e6, "server_cpu_us": server + kernel_us}])
    )
    result.targets[LIMIT] = 0.75
    result.notes.append(
        f"Limit: {server:.0f} us of server and {client:.0f} us of client for HTTP and JSON, "
        f"{kernel_us:.0f} us of kernel (batch {batch}), on {CORES} cores; without the session store."
    )


def _kernel_s(options: Options) -> float:
    return 2.0 if options.is_quick else 8.0
