"""A clone of the repository in a folder of its own, where a newcomer's commands run."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.committed import ROOT
from tests.docs.blocks import Step
from tests.ports import free_port

RUN_S, START_S = 300, 120
SERVES = re.compile(r"(^|\s)(make serve|cellgate serve)\b")
PROGRAMS = {"python": [], "cellgate": ["-m", "service"], "cellgate-train": ["-m", "training"]}


class Clone:
    """Files as git has them or would add them, and a `.venv` whose programs are those of these tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(
            listed, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split():
            if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        for words in (["init", "--quiet"], ["add", "--all"]):
            subprocess.run(["git", *words], cwd=folder, check=True)
        self._add_programs(folder / ".venv" / "bin")

    def _add_programs(self, path: Path) -> None:
        path.mkdir(parents=True)
        for name, words in PROGRAMS.items():
            command = " ".join([sys.executable, *words])
            (path / name).write_text(f'#!/bin/sh\nPYTHONPATH={self.folder} exec {command} "$@"\n')
            (path / name).chmod(0o755)
        (path / "activate").write_text(f"PATH={path}:$PATH\n")
        for stamp in (".serve", ".dev"):  # nothing to install
            (path.parent / stamp).touch()

    def status(self) -> str:
        """What git would add."""
        command = ["git", "status", "--porcelain"]
        shown = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True)
        return "".join(line for line in shown.stdout.splitlines(keepends=True) if line[1] != " ")

    def run(self, step: Step) -> str:
        """Run a step as typed, except for the port. The output."""
        text = step.text.replace("8000", str(self.port))
        command = [sys.executable, "-c", text] if step.language == "python" else ["bash", "-euc", text]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environ(), capture_output=True, text=True, timeout=RUN_S
        )
        assert done.returncode == 0, f"{step.text}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def serving(self, step: Step) -> Iterator[None]:
        """The server that a step starts, ready, until the block ends."""
        text = step.text if step.text.startswith(("make", "cellgate")) else f"env {step.text}"
        with (self.folder / ".venv" / "server.log").open("w+") as log:
            process = subprocess.Popen(
                ["bash", "-euc", f"exec {text}"],
                cwd=self.folder, env=self._environ(), stdout=log, stderr=log,
            )  # fmt: skip
            try:
                deadline = time.monotonic() + START_S
                while not self._is_ready():
                    shown = Path(log.name).read_text()
                    assert process.poll() is None and time.monotonic() < deadline, f"{step.text}\n{shown}"
                    time.sleep(0.1)
                yield
            finally:
                process.terminate()
                process.wait(60)

    def _environ(self) -> dict[str, str]:
        path = f"{self.folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        settings = {"CELLGATE_WORKERS": "1", "CELLGATE_PORT": str(self.port)}
        return os.environ | settings | {"PATH": path, "PYTHONPATH": str(self.folder)}

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


def walk(clone: Clone, steps: list[Step]) -> list[str]:
    """Run the steps in order; each server runs until the next one is started. The outputs."""
    outputs = []
    with contextlib.ExitStack() as servers:
        for step in steps:
            if step.language == "console" and SERVES.search(step.text) and "--help" not in step.text:
                servers.close()
                servers.enter_context(clone.serving(step))
            else:
                outputs.append(clone.run(step))
    return outputs
