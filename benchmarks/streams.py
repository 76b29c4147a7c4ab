"""The loads (h) and (i): sessions over WebSockets, against requests, Triton and an echo.

All servers have one worker or instance, so that the client has a core of its own. It knows the clients'
command lines, not what they do on a socket.
"""

import json
import struct
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
from websockets.sync.client import connect

from benchmarks import cache, loads, process, triton
from benchmarks.cache import HERE, Array, Model
from benchmarks.contest import (
    Contest,
    Contestant,
    Measure,
    Options,
    WrongAnswer,
    contest,
    sequence,
)
from benchmarks.dialects import Cellgate, Triton
from benchmarks.peers import Peer, serve_cellgate
from benchmarks.process import Server
from benchmarks.results import Result

SOCKETS = 16
HEAD = struct.Struct("<HBBIq")  # a binary frame: channel, flags, 0, steps, at
ONE = "Cellgate, one worker"
TRITON = "Triton, sequence batcher, one instance"
ECHO = "echo (picows)"
BINARY, JSON = "Cellgate streams, binary", "Cellgate streams, JSON"
REQUESTS, TRITON_HTTP, TRITON_GRPC = "Cellgate, POST /predict", "Triton, HTTP", "Triton, gRPC stream"
ECHO_BINARY, ECHO_JSON = f"{ECHO}, binary", f"{ECHO}, JSON"


def one_in_flight(options: Options) -> Result:
    """(h) Streams: one step a frame, one frame a session in flight, 64 sessions on 16 sockets."""
    return _streams(options, "h", 1)


def eight_in_flight(options: Options) -> Result:
    """(i) The same, with 8 frames a session in flight."""
    return _streams(options, "i", 8)


def _streams(options: Options, key: str, in_flight: int) -> Result:
    with contest(options, loads.SMALL, [_cellgate(), _triton(), _echo()], sessions=True) as started:
        measures = _measures(options, started, in_flight)
        rows = started.run(options, measures)
    title = f"streams, 1 step a frame, {loads.SESSIONS} sessions on {SOCKETS} sockets, {in_flight} in flight"
    result = Result(key, f"{title}, durable LMDB, one worker", "requests_per_s", rows, baseline=BINARY)
    result.targets[REQUESTS] = 3.0 if in_flight == 1 else 5.0
    if in_flight == 1:
        measured = [row for row in map(result.row, (TRITON_HTTP, TRITON_GRPC)) if row.runs]
        if measured:
            result.targets[max(measured, key=lambda row: row.median(result.figure) or 0.0).name] = 4.0
    result.notes.append(
        "The client of the streams is the same program for Cellgate and for the echo, which shows what it "
        "can do. Requests, and Triton over HTTP, have one step in flight for each of 16 connections."
    )
    return result


def _measures(options: Options, started: Contest, in_flight: int) -> dict[str, Measure]:
    running = {contestant.peer.name: contestant for contestant in started.running}
    measures: dict[str, Measure] = {}
    if one := running.get(ONE):
        for name, is_binary in ((BINARY, True), (JSON, False)):
            check(one.server, loads.SMALL, is_binary=is_binary)
            measures[name] = partial(measure, options, one.server, in_flight, is_binary=is_binary)
        measures[REQUESTS] = _requests(options, one)
    if found := running.get(TRITON):
        measures[TRITON_HTTP] = _requests(options, found)
        measures[TRITON_GRPC] = partial(_triton_stream, options, found, in_flight)
    if echo := running.get(ECHO):
        for name, is_binary in ((ECHO_BINARY, True), (ECHO_JSON, False)):
            measures[name] = partial(
                measure, options, echo.server, in_flight, is_binary=is_binary, is_echo=True
            )
    return measures


def _cellgate() -> Peer:
    return Peer(ONE, partial(serve_cellgate, workers=1), Cellgate(), has_sessions=True)


def _triton() -> Peer:
    def start(model: Model, work: Path) -> Server:
        port = process.free_port()
        (work / "grpc_port").write_text(str(port))
        return triton.start(model, "sequence", work, instances=1, grpc_port=port)

    return Peer(TRITON, start, Triton("sequence", has_sequences=True), has_sessions=True)


def _echo() -> Peer:
    def start(_: Model, work: Path) -> Server:
        port = process.free_port()
        command: list[str | Path] = [_python(), HERE / "echo_server.py", str(port)]
        return process.start(command, {}, port=port, ready="/", log=work / "echo.log", status=404)

    return Peer(ECHO, start, Cellgate(), has_model=False)


def _requests(options: Options, contestant: Contestant) -> Measure:
    loads.begin_sessions(contestant)
    return loads.closed_measure(options, contestant, loads.calls(1, sessions=True))


def measure(
    options: Options, server: Server, in_flight: int, *, is_binary: bool, is_echo: bool = False
) -> dict[str, float]:
    """One run of the client of streams."""
    load = {
        "port": server.port,
        "path": "/stream",
        "sockets": SOCKETS,
        "sessions": loads.SESSIONS,
        "in_flight": in_flight,
        "seconds": options.seconds,
        "steps": _steps(),
        "is_binary": is_binary,
        "is_echo": is_echo,
        "prefix": f"{'binary' if is_binary else 'json'}-{in_flight}-",
    }
    return run_client("stream_client.py", load, server)


def _triton_stream(options: Options, contestant: Contestant, in_flight: int) -> dict[str, float]:
    load = {
        "port": int((contestant.work / "grpc_port").read_text()),
        "model": "sequence",
        "streams": SOCKETS,
        "sessions": loads.SESSIONS,
        "in_flight": in_flight,
        "seconds": options.seconds,
        "steps": _steps(),
    }
    return run_client("triton_stream_client.py", load, contestant.server)


def run_client(program: str, load: dict[str, object], server: Server) -> dict[str, float]:
    """Run a client in the peers' environment; its figures, and the server's CPU time for each reply."""
    cpu = server.cpu_s()
    command = [str(_python()), str(HERE / program), json.dumps(load)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{program}: {done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout)
    if not figures["replies"]:
        raise RuntimeError(f"{program}: no reply")
    figures["server_cpu_us"] = (server.cpu_s() - cpu) / figures["replies"] * 1e6
    return figures


def check(server: Server, model: Model, *, is_binary: bool) -> None:
    """Compare a session over a stream, step by step, with ONNX Runtime. Raises WrongAnswer."""
    x = sequence(7, seed=7)
    answer = _answer(server, x, is_binary=is_binary)
    expected = model.answer(x)
    if answer.shape != expected.shape or not np.allclose(answer, expected, atol=1e-4, rtol=0):
        raise WrongAnswer(f"a stream answers {answer.tolist()}, ONNX Runtime {expected.tolist()}")


def _answer(server: Server, x: Array, *, is_binary: bool) -> Array:
    """[classes] after the last step."""
    encoding = "binary" if is_binary else "json"
    with connect(f"ws://127.0.0.1:{server.port}/stream") as socket:
        socket.send(json.dumps({"session": f"check-{encoding}", "encoding": encoding}))
        opened = json.loads(socket.recv())
        if "error" in opened:
            raise WrongAnswer(f"a stream answers {opened}")
        for row in x:
            text = json.dumps({"steps": [[round(float(value), 6) for value in row]]})
            socket.send(HEAD.pack(0, 0, 0, 1, 0) + row.astype("<f4").tobytes() if is_binary else text)
            reply = socket.recv()
    if is_binary:
        return np.frombuffer(bytes(reply)[HEAD.size :], "<f4")  # type: ignore[arg-type]
    return np.array(json.loads(reply)["output"], np.float32)


def _steps() -> list[list[float]]:
    return [[round(float(value), 6) for value in sequence(1, seed=seed)[0]] for seed in range(64)]


def _python() -> Path:
    return cache.environment() / "bin/python"
