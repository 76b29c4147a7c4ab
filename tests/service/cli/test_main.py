"""What holds for every command."""

import shutil
import subprocess
import sys

import click
import pytest

from service.__main__ import main
from tests.service.cli.command import run


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The group and all commands below it."""
    paths = [path]
    for name, command in group.commands.items():
        paths += commands(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return paths


@pytest.mark.parametrize("path", commands(main), ids=" ".join)
def test_help_of_every_command_has_an_example(path: tuple[str, ...]) -> None:
    shown = run(*path, "--help")
    assert shown.exit_code == 0
    assert "Example" in shown.output and "cellgate " in shown.output


def test_help_does_not_import_what_only_a_server_needs() -> None:
    script = """
import sys
from service.__main__ import main
main(["serve", "--help"], standalone_mode=False)
heavy = {"onnxruntime", "uvicorn", "fastapi", "numpy", "lmdb"} & sys.modules.keys()
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_version() -> None:
    assert shutil.which("cellgate") is None or run("--version").exit_code == 0


def test_python_m_service_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "service", "--help"], capture_output=True, text=True)
    assert done.stdout.startswith("Usage: cellgate [OPTIONS] COMMAND")
