"""The wheel: it serves its example model without a clone, and `cellgate demo` shows what it promises."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.committed import ROOT
from tests.environment import isolate


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        str(ROOT),
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_has_the_packages_the_page_and_the_example_model(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "cellgate/py.typed",
        "service/ui/index.html",
        "service/demo_models/vowels/1/model.onnx",
        "service/demo_models/vowels/1/model.json",
    } <= names
    assert not [name for name in names if name.startswith(("tests/", "models/", "benchmarks/", "deploy/"))]


def test_the_demo_of_an_installed_wheel_keeps_its_promises(wheel: Path, tmp_path: Path) -> None:
    """From the files of the wheel alone, in a folder without a clone."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    environ = dict(os.environ)
    isolate(environ)
    environ |= {"PYTHONPATH": str(tmp_path / "installed"), "CELLGATE_MODELS_DIR": "/nowhere"}
    command = [sys.executable, "-m", "service", "demo", "--no-browser", "--no-stay"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = [line.split()[0] for line in done.stdout.splitlines()]
    assert shown == [
        "Ready", "Predict", "Session", "Session", "kill", "Start", "Resume", "Retry", "Fork", "Rewind", "The",
    ]  # fmt: skip
    assert done.stdout.count("the same bits as") == 3
