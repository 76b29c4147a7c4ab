"""`cellgate demo`: a server of the example model, and what sessions are for, in a minute.

It is a client of the server that it starts, and knows nothing that another client could not.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import click

from service.cli.interrupts import as_ctrl_c
from service.cli.options import CONTEXT

START_S = 60.0
LOOK_EVERY_S = 0.05
PIECE = 5  # steps a request
SESSION = "call-42"


@click.command(context_settings=CONTEXT)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="TCP port  [default: any free one]")
@click.option("--browser/--no-browser", default=True, help="open the page of the server when it is ready")
@click.option("--stay/--no-stay", default=None, help="keep serving until Ctrl-C  [default: on a terminal]")
def demo(port: int, browser: bool, stay: bool | None) -> None:
    """Start a server with an example model, kill it in the middle of a session, and resume.

    The sessions are kept in a temporary directory, and are deleted at the end.

    \b
    Examples:
      cellgate demo                           show, then serve until Ctrl-C; the page opens in the browser
      cellgate demo --no-browser --no-stay    show, and end
    """
    port = _free_port(port)
    with (
        as_ctrl_c(signal.SIGTERM, signal.SIGHUP),  # else the server would outlive a closed terminal
        TemporaryDirectory(prefix="cellgate-demo-") as folder,
        contextlib.suppress(KeyboardInterrupt),
    ):
        server = _Server(Path(folder), port)
        with server.running():
            _say("Ready", f"{server.url}, with the page {server.url}/ui")
            if browser:
                webbrowser.open(f"{server.url}/ui")
            _show(server)
            if sys.stdout.isatty() if stay is None else stay:
                _say("Your turn", f"{server.url}/ui shows the sessions. Ctrl-C ends the server.")
                signal.pause()
    click.echo("The server has ended, and its sessions are deleted.")


class _Server:
    """`cellgate serve` in a process group of its own, so that all of it can be killed."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._opener = build_opener(ProxyHandler({}))  # this machine is reached without a proxy
        self._log = folder / "server.log"
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CELLGATE_")}
        self._process: subprocess.Popen[bytes] | None = None
        self._environ = environ | {
            "CELLGATE_MODELS_DIR": str(_models()),
            "CELLGATE_SESSIONS_DIR": str(folder / "sessions"),
            "CELLGATE_WORKERS": "2",
            "CELLGATE_PORT": str(port),
        }

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Started; stopped at the end, however it ends. Raises click.ClickException if it does not start."""
        try:
            self.start()
            yield
        finally:
            if self._process is not None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.terminate()
                self._process.wait()

    def start(self) -> None:
        """Start, and wait until it answers."""
        with self._log.open("ab") as log:
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "service", "serve"],
                env=self._environ,
                cwd=_package().parent,  # in another folder, `service` may be a module of the user's
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not self._is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"the server did not start:\n{self._log.read_text()}")
            time.sleep(LOOK_EVERY_S)

    def kill(self) -> None:
        """SIGKILL to all its processes at once."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of a reply. Raises click.ClickException for an error."""
        content = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}/{path}", content, {"content-type": "application/json"}, method=method)
        try:
            with self._opener.open(request, timeout=START_S) as reply:
                return json.load(reply)
        except HTTPError as error:
            raise click.ClickException(f"{method} /{path}: {error.read().decode()}") from error

    def _is_ready(self) -> bool:
        try:
            with self._opener.open(f"{self.url}/health/ready", timeout=START_S) as reply:
                return bool(reply.status == 200)
        except (OSError, HTTPException):  # it does not listen yet, or not any more
            return False


def _show(server: _Server) -> None:
    """Each line is a request, and what came back. Raises click.ClickException if a promise is not kept."""
    (model,) = server.call("GET", "models/vowels")["models"]
    steps = model["example"]["steps"]
    whole = _predict(server, steps)
    _say("Predict", f"{len(steps)} steps of a spoken vowel: {_answer(whole)}")
    server.call("PUT", f"sessions/{SESSION}", {"model": "vowels", "history": {"last": len(steps)}})
    for at in range(0, len(steps) // 2, PIECE):
        part = _predict(server, steps[at : at + PIECE], session=SESSION, at=at)
        _say("Session", f"{PIECE} steps more, step {part['step']} of {SESSION!r}: {_answer(part)}")
    server.kill()
    _say("kill -9", "all processes of the server")
    server.start()
    half = server.call("GET", f"sessions/{SESSION}")["step"]
    _say("Start", f"again: {SESSION!r} is at step {half}")
    part = _predict(server, steps[half:], session=SESSION, at=half)
    _say(
        "Resume",
        f"step {part['step']}: {_answer(part)}, {_same(part, whole)} one request of {len(steps)} steps",
    )
    again = _predict(server, steps[half:], session=SESSION, at=half)
    _say(
        "Retry",
        f"the same request again: {_same(again, part)} before, and {SESSION!r} is still at {again['step']}",
    )
    server.call("POST", f"sessions/{SESSION}/fork", {"to": f"{SESSION}-copy", "at": half})
    other = _predict(server, steps[:half], session=f"{SESSION}-copy", at=half)
    _say("Fork", f"from step {half}, with other steps: {_answer(other)}")
    server.call("POST", f"sessions/{SESSION}/rewind", {"step": half, "at": len(steps)})
    replayed = _predict(server, steps[half:], session=SESSION, at=half)
    _say("Rewind", f"to step {half}, and the steps again: {_same(replayed, whole)} the first time")


def _predict(server: _Server, steps: list[Any], **fields: Any) -> dict[str, Any]:
    body = {"model": "vowels", "sequences": [{"steps": steps, **fields}]}
    prediction: dict[str, Any] = server.call("POST", "predict", body)["predictions"][0]
    return prediction


def _answer(prediction: dict[str, Any]) -> str:
    return f"speaker {prediction['label']} ({prediction['probability']:.1%})"


def _same(prediction: dict[str, Any], other: dict[str, Any]) -> str:
    if prediction["output"] != other["output"]:
        raise click.ClickException(f"{prediction} differs from {other}")
    return "the same bits as"


def _say(what: str, text: str) -> None:
    click.echo(f"{click.style(f'{what:>9}', bold=True)}  {text}")


def _models() -> Path:
    """The example models: in an installed package beside the code, in a clone in its own directory."""
    packaged = _package() / "demo_models"
    return packaged if packaged.is_dir() else _package().parent / "models"


def _package() -> Path:
    return Path(str(files("service"))).resolve()


def _free_port(port: int) -> int:
    """The port; 0: any. Raises click.ClickException if it is taken: the server there is not ours to show."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise click.ClickException(f"port {port}: {error.strerror}; choose another --port") from error
        return int(probe.getsockname()[1])
