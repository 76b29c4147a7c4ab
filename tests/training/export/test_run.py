"""Exporting a run: the manifest has its command and metrics, and the run knows where the model is."""

import json
import shutil
from pathlib import Path

import pytest

from service.manifest import Manifest
from training import run
from training.export.run import EXPORT_FILE, export_run, exported_model


@pytest.fixture
def done(finished: run.Run, tmp_path: Path) -> run.Run:
    """A copy of the finished run, whose folder may change."""
    shutil.copytree(finished.folder, tmp_path / "run")
    return run.read(tmp_path / "run")


def test_the_manifest_has_the_metrics_the_command_and_the_seed(done: run.Run, tmp_path: Path) -> None:
    manifest = export_run(done, tmp_path / "models" / "m" / "1")
    assert manifest == Manifest.read(tmp_path / "models" / "m" / "1")
    temperature = {"temperature": done.metrics["temperature"]}
    assert manifest.metrics == done.test_metrics() | temperature
    assert manifest.provenance is not None
    assert (
        manifest.provenance.command
        == f"{run.command(done.config)} --export {tmp_path / 'models' / 'm' / '1'}"
    )
    assert manifest.provenance.seed == done.config.seed


def test_a_run_that_was_not_exported_has_no_model(done: run.Run) -> None:
    (done.folder / EXPORT_FILE).unlink(missing_ok=True)
    assert exported_model(done.folder) is None


def test_the_run_records_its_latest_export(
    done: run.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_run(done, tmp_path / "models" / "a" / "1")
    export_run(done, tmp_path / "models" / "b" / "7")
    assert exported_model(done.folder) == tmp_path / "models" / "b"
    monkeypatch.chdir(tmp_path)
    assert exported_model(done.folder) == Path("models/b"), "relative to the current folder if it is inside"
    shutil.rmtree(tmp_path / "models" / "b")
    assert exported_model(done.folder) is None


def test_a_relative_folder_is_recorded_absolutely(
    done: run.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    export_run(done, Path("models/m/1"))
    recorded = json.loads((done.folder / EXPORT_FILE).read_text())["folder"]
    assert recorded == str(tmp_path / "models" / "m" / "1")


def test_a_refused_export_is_not_recorded(done: run.Run, tmp_path: Path) -> None:
    (done.folder / EXPORT_FILE).unlink(missing_ok=True)
    (tmp_path / "models" / "m" / "1").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="--force replaces it"):
        export_run(done, tmp_path / "models" / "m" / "1")
    assert exported_model(done.folder) is None
    export_run(done, tmp_path / "models" / "m" / "1", force=True)
    assert exported_model(done.folder) == tmp_path / "models" / "m"
