"""Settings as flags: each has its description, its variable and its default."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import GROUPS, Settings
from tests.service.cli.command import run


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_a_documented_flag_of_serve(name: str) -> None:
    shown = run("serve", "--help").output
    assert f"--{name.replace('_', '-')}" in shown
    assert f"[CELLGATE_{name.upper()};" in shown


def test_serve_shows_each_setting_in_its_group() -> None:
    """49 options in one list are not read."""
    grouped = [name for group in GROUPS.values() for name in group.model_fields]
    assert grouped == list(Settings.model_fields)
    shown = run("serve", "--help").output
    assert re.findall(r"^(\w[\w ]+):$", shown, re.MULTILINE)[-len(GROUPS) :] == list(GROUPS)
    sessions = shown.partition("\nSessions:\n")[2].partition("\nRequest limits:")[0]
    assert "--sessions-dir" in sessions and "--port" not in sessions
    assert shown.count("--port INTEGER") == 1


@pytest.mark.parametrize("words", [("serve",), ("import", "GRAPH")])
def test_a_terminal_shows_at_once_what_takes_seconds(
    words: tuple[str, ...], tmp_path: Path, models_dir: Path
) -> None:
    """The screen was empty until ONNX Runtime was loaded. A pipe gets no such line."""
    graph = str(models_dir / "vowels" / "1" / "model.onnx")
    command = [sys.executable, "-c", HEAVY, *(graph if word == "GRAPH" else word for word in words)]
    command += ["--name", "x"] if words[0] == "import" else []
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = os.read(ours, 1000).decode()
    assert process.wait(60) == 77, "nothing heavy was imported"
    os.close(ours)
    assert shown.startswith(("loading the models in models", f"running {graph} on"))
    piped = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (piped.returncode, piped.stderr) == (77, "")


HEAVY = """
import os, sys
class Heavy:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            os._exit(77)
sys.meta_path.insert(0, Heavy())
from service.__main__ import main
main(prog_name="cellgate")
"""


def test_a_default_is_shown_once() -> None:
    shown = run("serve", "--help").output
    assert "[CELLGATE_MAX_BATCH; 64]" in " ".join(shown.split()) and "[default" not in shown


def test_an_error_is_one_line_and_exit_status_1() -> None:
    shown = run("models", "--models-dir", "/nowhere")
    assert shown.exit_code == 1 and shown.output.startswith("Error: no model in /nowhere")
    shown = run("models", CELLGATE_MODLES_DIR="x")
    assert shown.exit_code == 1 and "no such option" in shown.output
    assert len(shown.output.splitlines()) == 1
