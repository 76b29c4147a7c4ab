"""The way of one session step through `service`, and of one training through `training`: files and packages.

    python -m benchmarks.trace_calls            both, as tables
    python -m benchmarks.trace_calls step       one step of a session, in this process, by a real connection
    python -m benchmarks.trace_calls train      `cellgate-train train vowels`, one epoch of a small network

A call is counted when a function of the traced folder starts; a coroutine counts once, however often it
resumes. A move is a call in another file than the call before. A package is entered when another package
calls it; the modules directly in the folder are one package, `nouns`.
"""

import asyncio
import contextlib
import dis
import functools
import inspect
import io
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import orjson
import uvicorn
from rich.console import Console
from rich.table import Table
from uvicorn.server import ServerState

from service.app import running
from service.http.fast_path import CellgateProtocol
from service.manifest import Manifest
from service.settings import Settings

ROOT = Path(__file__).parent.parent
SUSPENDABLE = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
WARM_UP = 20  # steps before the one that is traced: caches are filled, costs are known


@dataclass
class Trace:
    """The calls of one folder, in their order."""

    folder: Path
    is_on: bool = False
    files: list[str] = field(default_factory=list)  # one for each call, relative to the folder
    entries: Counter[tuple[str, str]] = field(
        default_factory=Counter
    )  # (caller, callee), other packages only

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """A profile function: see `sys.setprofile`."""
        if not self.is_on or event != "call" or (file := self._file(frame.f_code)) is None:
            return
        if _is_resumed(frame):
            return
        self.files.append(file)
        caller, package = self._caller(frame), _package(file)
        if caller != package:
            self.entries[caller, package] += 1

    @property
    def moves(self) -> int:
        """The number of calls in another file than the call before."""
        return sum(before != after for before, after in zip(self.files, self.files[1:], strict=False))

    @property
    def packages(self) -> list[str]:
        """The packages in the order of their first call."""
        return list(dict.fromkeys(map(_package, self.files)))

    def _file(self, code: CodeType) -> str | None:
        path = Path(code.co_filename)
        if code.co_name == "<module>" or not path.is_relative_to(self.folder):
            return None
        return str(path.relative_to(self.folder))

    def _caller(self, frame: FrameType) -> str:
        """The package of the nearest caller in the folder; empty if there is none."""
        above = frame.f_back
        while above is not None:
            if (file := self._file(above.f_code)) is not None:
                return _package(file)
            above = above.f_back
        return ""


def _package(file: str) -> str:
    return file.split("/")[0] if "/" in file else "nouns"


def _is_resumed(frame: FrameType) -> bool:
    """Whether a coroutine or a generator continues: it counts when it starts."""
    return bool(frame.f_code.co_flags & SUSPENDABLE) and frame.f_lasti > _start_of(frame.f_code)


@functools.cache
def _start_of(code: CodeType) -> int:
    """The offset of the instruction at which a function starts."""
    return next(one.offset for one in dis.get_instructions(code) if one.opname == "RESUME")


@contextlib.contextmanager
def profiled(folder: Path) -> Iterator[Trace]:
    """Trace all threads that start in this block, while the trace is on."""
    trace = Trace(folder)
    threading.setprofile(trace)
    sys.setprofile(trace)
    try:
        yield trace
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def trace_step() -> Trace:
    """One step of a session of the committed model, by a connection on the loopback."""
    with tempfile.TemporaryDirectory() as folder, profiled(ROOT / "service") as trace:
        settings = Settings(
            models_dir=ROOT / "models", sessions_dir=Path(folder), store="lmdb", access_log=False
        )
        asyncio.run(_steps(settings, trace))
    return trace


async def _steps(settings: Settings, trace: Trace) -> None:
    async with running(settings) as application:
        config = uvicorn.Config(application, http=CellgateProtocol, lifespan="off", log_config=None)  # type: ignore[arg-type]
        config.load()
        config.loaded_app.gate = application.gate
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: CellgateProtocol(config=config, server_state=ServerState(), app_state={}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        example = Manifest.read(ROOT / "models" / "vowels" / "1").example
        assert example is not None
        for at in range(WARM_UP + 1):
            trace.is_on = at == WARM_UP
            writer.write(_request(example.steps[at % len(example.steps)], at))  # type: ignore[index]
            await _response(reader)
        trace.is_on = False
        writer.close()
        server.close()


def _request(step: Any, at: int) -> bytes:
    body = orjson.dumps({"model": "vowels", "sequences": [{"steps": [step], "session": "traced", "at": at}]})
    head = (
        f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    )
    return head.encode() + b"\r\n\r\n" + body


async def _response(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)


def trace_training() -> Trace:
    """`cellgate-train train vowels`, one epoch of a small network."""
    from training.__main__ import main

    with tempfile.TemporaryDirectory() as folder, profiled(ROOT / "training") as trace:
        trace.is_on = True
        options = ["--hidden", "8", "--epochs", "1", "--accelerator", "cpu", "--out", f"{folder}/run"]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            main(["train", "vowels", *options], standalone_mode=False)
        trace.is_on = False
    return trace


def show(title: str, trace: Trace, console: Console) -> None:
    """Print the packages in order, each with its callers, and the totals."""
    table = Table("package", "entered by", "entries", "files", "calls", title=title)
    for package in trace.packages:
        callers = Counter(
            {caller or "-": n for (caller, callee), n in trace.entries.items() if callee == package}
        )
        calls = Counter(file for file in trace.files if _package(file) == package)
        table.add_row(
            package,
            ", ".join(callers),
            str(callers.total()),
            ", ".join(Path(file).stem for file in calls),
            str(calls.total()),
        )
    console.print(table)
    files = len(set(trace.files))
    console.print(
        f"{len(trace.packages)} packages, {files} files, {len(trace.files)} calls, {trace.moves} moves"
    )


def main(chosen: list[str]) -> None:
    """Trace what the command line names, or both."""
    console = Console()
    if not chosen or "step" in chosen:
        show("one step of a session", trace_step(), console)
    if not chosen or "train" in chosen:
        show("cellgate-train train vowels, one epoch", trace_training(), console)


if __name__ == "__main__":
    main(sys.argv[1:])
