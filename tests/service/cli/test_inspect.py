"""`cellgate inspect`: always a draft, printed or written; what is open is explained, with a status of 1."""

import json
from pathlib import Path

import pytest

from service.manifest import MANIFEST_FILE
from tests.service import graphs
from tests.service.cli.command import run

OPTIONS = {"one-step": ("--constant", "scale=1")}


@pytest.mark.parametrize("kind", graphs.SUMMING, ids=lambda kind: kind.name)
def test_a_proposed_manifest_serves_a_foreign_graph(kind: graphs.Kind, tmp_path: Path) -> None:
    folder = kind.write(tmp_path)
    (folder / MANIFEST_FILE).unlink()
    graph, options = str(folder / "model.onnx"), OPTIONS.get(kind.name, ())
    written = run("inspect", graph, *options, "-o", str(folder))
    assert written.exit_code == 0, written.output
    listed = json.loads(run("models", "--models-dir", str(tmp_path), "--json").output)
    assert listed[0]["name"] == kind.name


def test_what_is_open_is_in_the_draft_and_explained_on_stderr(tmp_path: Path) -> None:
    folder = graphs.ONE_STEP.write(tmp_path)
    shown = run("inspect", str(folder / "model.onnx"))
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["constants"] == {"scale": "?"}
    assert "open: constants.scale is open: " in shown.stderr
    assert "--constant scale=VALUE" in shown.stderr


def test_a_draft_with_open_fields_is_written_and_completed_by_hand(tmp_path: Path) -> None:
    folder = graphs.ONE_STEP.write(tmp_path)
    graph, manifest = str(folder / "model.onnx"), folder / MANIFEST_FILE
    assert run("inspect", graph, "-o", str(folder), "--force").exit_code == 1
    refused = run("models", "--models-dir", str(tmp_path))
    assert refused.exit_code == 1 and "constants.scale is open: " in refused.output
    manifest.write_text(manifest.read_text().replace('"scale": "?"', '"scale": 2'))
    assert run("inspect", graph, "-o", str(folder)).exit_code == 0
    assert json.loads(manifest.read_text())["constants"] == {"scale": 2}
    assert run("models", "--models-dir", str(tmp_path)).exit_code == 0


def test_the_output_folder_is_created_and_a_manifest_replaced_only_with_force(tmp_path: Path) -> None:
    graph, new = graphs.UNIFORM.write(tmp_path) / "model.onnx", tmp_path / "not" / "there"
    assert run("inspect", str(graph), "-o", str(new)).exit_code == 0
    proposed = (new / MANIFEST_FILE).read_text()
    shown = run("inspect", str(graph), "-o", str(new))
    assert shown.exit_code == 1 and "exists; --force replaces it" in shown.output
    (new / MANIFEST_FILE).write_text("by hand")
    shown = run("inspect", str(graph), "-o", str(new))
    assert shown.exit_code == 1 and "Expecting value" in shown.output
    assert (new / MANIFEST_FILE).read_text() == "by hand"
    assert run("inspect", str(graph), "-o", str(new), "--force").exit_code == 0
    assert (new / MANIFEST_FILE).read_text() == proposed


def test_the_example_of_a_manifest_that_is_there_is_replaced(tmp_path: Path) -> None:
    folder = graphs.UNIFORM.write(tmp_path)
    (tmp_path / "steps.json").write_text('{"steps": [[1, 2], [3, 5]]}')
    options = ("-o", str(folder), "--example", str(tmp_path / "steps.json"))
    assert run("inspect", str(folder / "model.onnx"), *options).exit_code == 0
    document = json.loads((folder / MANIFEST_FILE).read_text())
    assert document["example"]["output"] == [4, 7]
    assert document["description"] == ""  # not that of a proposal


def test_the_options_settle_what_is_proposed(tmp_path: Path) -> None:
    folder = graphs.UNIFORM.write(tmp_path)
    (tmp_path / "labels.txt").write_text("up\ndown\n")
    options = ["--task", "classify", "--labels", f"@{tmp_path / 'labels.txt'}", "--state", "h=h_out"]
    shown = run("inspect", str(folder / "model.onnx"), *options, "--time-axis", "1", "--batch-axis", "0")
    document = json.loads(shown.stdout)
    assert shown.exit_code == 0
    assert document["outputs"][0]["labels"] == ["up", "down"]
    assert document["task"] == "classify"
    assert run(
        "inspect", str(folder / "model.onnx"), "--batch-axis", "none", "--dims", "x=1,2"
    ).exit_code in (0, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--state", "h"], "expected IN=OUT"),
        (["--constant", "sr=fast"], "expected NAME=VALUE"),
        (["--dims", "x=0"], "expected INPUT=SIZE"),
        (["--audio", "x=0"], "expected INPUT=RATE"),
        (["--audio", "x=fast"], "expected INPUT=RATE"),
        (["--time-axis", "last"], "expected a position from 0 on, or none"),
        (["--labels", "@missing.txt"], "missing.txt"),
        (["--example", "model.onnx"], "does not exist"),
    ],
)
def test_an_option_that_cannot_be_read_is_explained(options: list[str], message: str, tmp_path: Path) -> None:
    folder = graphs.UNIFORM.write(tmp_path)
    shown = run("inspect", str(folder / "model.onnx"), *options)
    assert shown.exit_code == 2 and message in shown.output


def test_an_example_that_is_no_json_is_explained(tmp_path: Path) -> None:
    folder = graphs.UNIFORM.write(tmp_path)
    (tmp_path / "steps.json").write_text("[[1,")
    shown = run("inspect", str(folder / "model.onnx"), "--example", str(tmp_path / "steps.json"))
    assert shown.exit_code == 2 and "steps.json" in shown.output


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    graph = graphs.UNIFORM.write(tmp_path) / "model.onnx"
    shown = run("inspect", str(graph), "-o", str(graph / "below"))
    assert shown.exit_code == 1 and "model.json: Not a directory" in shown.output


def test_a_file_that_is_not_a_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("nothing")
    shown = run("inspect", str(tmp_path / "x.onnx"))
    assert shown.exit_code == 1 and "not a valid ONNX file" in shown.output
