"""`cellgate inspect`: the manifest that it proposes for a foreign graph, printed or written."""

import json
from pathlib import Path

import pytest

from service.manifest import MANIFEST_FILE
from tests.service import graphs
from tests.service.cli.command import run

# A graph does not show that its sequences must not be cut, so no proposal fits the last one.
FOREIGN = [kind for kind in graphs.SUMMING if kind is not graphs.WHOLE]


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.name)
def test_a_proposed_manifest_serves_a_foreign_graph(kind: graphs.Kind, tmp_path: Path) -> None:
    folder = kind.write(tmp_path)
    (folder / MANIFEST_FILE).unlink()
    shown = run("inspect", str(folder / "model.onnx"))
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.output)["inputs"][0]["name"]
    assert run("inspect", str(folder / "model.onnx"), "-o", str(folder)).exit_code == 0
    listed = json.loads(run("models", "--models-dir", str(tmp_path), "--json").output)
    assert listed[0]["exact"] and listed[0]["name"] == kind.name


def test_the_output_folder_is_created_and_a_manifest_replaced_only_with_force(tmp_path: Path) -> None:
    graph, new = graphs.SUMMING[0].write(tmp_path) / "model.onnx", tmp_path / "not" / "there"
    assert run("inspect", str(graph), "-o", str(new)).exit_code == 0
    proposed = (new / MANIFEST_FILE).read_text()
    (new / MANIFEST_FILE).write_text("by hand")
    shown = run("inspect", str(graph), "-o", str(new))
    assert shown.exit_code == 1 and "exists; --force replaces it" in shown.output
    assert (new / MANIFEST_FILE).read_text() == "by hand"
    assert run("inspect", str(graph), "-o", str(new), "--force").exit_code == 0
    assert (new / MANIFEST_FILE).read_text() == proposed


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    graph = graphs.SUMMING[0].write(tmp_path) / "model.onnx"
    shown = run("inspect", str(graph), "-o", str(graph / "below"))
    assert shown.exit_code == 1 and "model.json: Not a directory" in shown.output


def test_a_file_that_is_not_a_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("nothing")
    shown = run("inspect", str(tmp_path / "x.onnx"))
    assert shown.exit_code == 1 and "ONNX Runtime cannot load it" in shown.output
