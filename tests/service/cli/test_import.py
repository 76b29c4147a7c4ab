"""`cellgate import`: a graph and its external files become the next version of a model, or nothing does."""

import json
from pathlib import Path

import onnx

from service.manifest import MANIFEST_FILE
from tests.service import graphs
from tests.service.cli.command import run


def write(folder: Path, *, external: bool = False) -> Path:
    path = folder / "mine.onnx"
    onnx.save(graphs.lstm(), path, save_as_external_data=external, location="mine.bin", size_threshold=64)
    return path


def test_a_graph_becomes_the_next_version(tmp_path: Path) -> None:
    root = str(tmp_path / "models")
    for version in ("1", "2"):
        shown = run("import", str(write(tmp_path)), "--name", "mine", "--models-dir", root)
        assert shown.exit_code == 0, shown.output
        assert f"models/mine/{version}, exact" in shown.output
    listed = json.loads(run("models", "--models-dir", root, "--json").output)
    assert [(row["name"], row["version"]) for row in listed] == [("mine", "1"), ("mine", "2")]
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"mine"}


def test_external_files_are_copied(tmp_path: Path) -> None:
    path = write(tmp_path, external=True)
    shown = run("import", str(path), "--name", "mine", "--models-dir", str(tmp_path / "models"))
    assert shown.exit_code == 0, shown.output
    copied = {file.name for file in (tmp_path / "models" / "mine" / "1").iterdir()}
    assert copied == {"mine.bin", "model.onnx", MANIFEST_FILE}


def test_nothing_is_placed_while_something_is_open(tmp_path: Path) -> None:
    onnx.save(graphs.one_step(), tmp_path / "x.onnx")
    root = tmp_path / "models"
    command = ("import", str(tmp_path / "x.onnx"), "--name", "x", "--models-dir", str(root))
    shown = run(*command)
    assert shown.exit_code == 1 and not root.exists()
    assert json.loads(shown.stdout)["constants"] == {"scale": "?"}
    assert run(*command, "--constant", "scale=1").exit_code == 0
    assert (root / "x" / "1" / MANIFEST_FILE).exists()


def test_a_name_that_no_model_can_have_is_refused(tmp_path: Path) -> None:
    shown = run("import", str(write(tmp_path)), "--name", "../x", "--models-dir", str(tmp_path / "models"))
    assert shown.exit_code == 2 and "expected letters" in shown.output


def test_a_missing_external_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, external=True)
    (tmp_path / "mine.bin").unlink()
    shown = run("import", str(path), "--name", "mine", "--models-dir", str(tmp_path / "models"))
    assert shown.exit_code == 1 and "mine.bin" in shown.output
    assert not (tmp_path / "models" / "mine").exists()


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shown = run("import", str(write(tmp_path)), "--name", "mine", "--models-dir", str(tmp_path / "file"))
    assert shown.exit_code == 1 and "File exists" in shown.output
