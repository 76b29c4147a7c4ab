"""The servers that are compared: how each is started, and its request format.

It knows commands and environments, not loads or figures.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import process, triton
from benchmarks.cache import Model
from benchmarks.dialects import Cellgate, Dialect, Triton, Tutorial
from benchmarks.process import Server

CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Peer:
    """A server in the comparison. `start(model, work)` raises Unavailable."""

    name: str
    start: Callable[[Model, Path], Server]
    dialect: Dialect
    has_sessions: bool = False
    has_model: bool = True  # False: a lower bound, whose replies are not checked


def serve_cellgate(model: Model, work: Path, **settings: object) -> Server:
    """The server as in the image: one worker a core, LMDB on disk, no access log."""
    port = process.free_port()
    chosen: dict[str, object] = {
        "models_dir": model.repository,
        "sessions_dir": work / "sessions",
        "store": "lmdb",
        "workers": CORES,
        "access_log": "false",
        "max_sessions": 2_000_000,
        "session_ttl_s": 86_400,
    }
    env = {f"CELLGATE_{name.upper()}": str(value) for name, value in (chosen | settings).items()}
    command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
    return process.start(command, env, port=port, ready="/health/ready", log=work / "cellgate.log")


def _serve_uvicorn(app: str, work: Path, env: dict[str, str], ready: str) -> Server:
    port = process.free_port()
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.{app}:app", "--port", str(port)]
    options = ["--workers", str(CORES), "--no-access-log", "--log-level", "warning"]
    return process.start(command + options, env, port=port, ready=ready, log=work / f"{app}.log")


def _serve_triton(batcher: str) -> Callable[[Model, Path], Server]:
    return lambda model, work: triton.start(model, batcher, work, instances=CORES)


CELLGATE = Peer("Cellgate", serve_cellgate, Cellgate(), has_sessions=True)
PEERS = (
    CELLGATE,
    Peer(
        "Triton, sequence batcher",
        _serve_triton("sequence"),
        Triton("sequence", has_sequences=True),
        has_sessions=True,
    ),
    Peer("Triton, dynamic batcher", _serve_triton("dynamic"), Triton("dynamic", has_sequences=False)),
    Peer(
        "tutorial (FastAPI)",
        lambda model, work: _serve_uvicorn("tutorial_app", work, {"MODEL": str(model.graph)}, "/health"),
        Tutorial(),
    ),
    Peer(
        "HTTP floor (uvicorn)",
        lambda _, work: _serve_uvicorn("floor_app", work, {}, "/"),
        Cellgate(),
        has_model=False,
    ),
)


def version_of(server: Server) -> str:
    """The version of a running Triton."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/v2", timeout=5) as reply:
        return str(json.loads(reply.read())["version"])
