"""Versions on disk: found in order, checked without loading a graph, and looked up for their sessions."""

import hashlib
import shutil
from pathlib import Path

import pytest

from service.errors import StartupError, UnknownModel, UnknownVersion
from service.manifest import GRAPH_FILE, MANIFEST_FILE
from service.repository.folders import ModelFolders, check_folders, find_versions, list_versions, read_binding
from tests.service import graphs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return graphs.UNIFORM.write(tmp_path)


def test_versions_are_found_in_order_and_other_folders_are_skipped(folder: Path, tmp_path: Path) -> None:
    for version in ("10", "2"):
        shutil.copytree(folder, folder.parent / version)
    for other in ("uniform/draft", "uniform/0", "uniform/01", ".hidden/1", "a b/1"):
        (tmp_path / other).mkdir(parents=True)
    (tmp_path / "uniform" / "3").write_text("a file")
    graphs.STACKED.write(tmp_path)
    names = [str(path.relative_to(tmp_path)) for path in find_versions(tmp_path)]
    assert names == ["stacked/1", "uniform/1", "uniform/2", "uniform/10"]
    assert list_versions(tmp_path) == list(find_versions(tmp_path))


def test_a_root_without_versions_is_refused(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(StartupError, match=r"expected <name>/<version>/model\.onnx and model\.json"):
            list_versions(root)


def test_folders_are_checked_without_opening_the_graph(folder: Path, tmp_path: Path) -> None:
    (folder / GRAPH_FILE).write_bytes(b"not a graph")
    check_folders(tmp_path)
    (folder / GRAPH_FILE).unlink()
    with pytest.raises(StartupError, match=r"model\.onnx: no such file"):
        check_folders(tmp_path)
    (folder / MANIFEST_FILE).write_text('{"task": "label"}')
    with pytest.raises(StartupError, match=r"model\.json: inputs: Field required; outputs: Field required"):
        check_folders(tmp_path)
    (folder / MANIFEST_FILE).write_text("{")
    with pytest.raises(StartupError, match=r"model\.json: Invalid JSON: EOF .* line 1 column 1"):
        check_folders(tmp_path)
    (folder / MANIFEST_FILE).unlink()
    with pytest.raises(StartupError, match=r"model\.json: No such file"):
        check_folders(tmp_path)


def test_the_binding_changes_with_the_graph(folder: Path) -> None:
    before = read_binding(folder)
    assert (before.model, before.version) == ("uniform", "1")
    assert before.graph == hashlib.sha256((folder / GRAPH_FILE).read_bytes()).digest()[:8]
    shutil.copy(graphs.STACKED.write(folder.parents[1] / "other") / GRAPH_FILE, folder)
    assert read_binding(folder).graph != before.graph
    (folder / GRAPH_FILE).write_bytes(b"no graph")
    with pytest.raises(StartupError, match="not a valid ONNX file"):
        read_binding(folder)


def test_a_version_on_disk_is_looked_up_as_a_loaded_one(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, folder.parent / "2")
    models = ModelFolders(tmp_path)
    assert models.get(None, None).binding.version == "2", "the highest"
    stored = models.get("uniform", "1")
    assert stored.binding == read_binding(folder)
    assert stored.manifest.states[0].input == "h"
    with pytest.raises(UnknownModel, match="no model other"):
        models.get("other", None)
    with pytest.raises(UnknownVersion, match="no version '3' of uniform"):
        models.get("uniform", "3")
