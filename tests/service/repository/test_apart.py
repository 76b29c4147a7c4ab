"""A graph that hangs, eats memory or crashes ONNX Runtime gets a draft that says so."""

import os
from pathlib import Path

import pytest

from service.errors import StartupError
from service.repository import Options, propose, propose_apart
from tests.service import graphs, harmful_graphs


def test_a_sound_graph_gets_the_same_draft(tmp_path: Path) -> None:
    graph = graphs.ONE_STEP.write(tmp_path) / "model.onnx"
    options = Options(dims={"x": (graphs.WIDTH,)}, labels=("a", "b"))
    assert propose_apart(graph, options) == propose(graph, options)
    complete = Options(constants={"scale": 1})
    assert propose_apart(graph, complete).manifest == propose(graph, complete).manifest


def test_a_graph_that_does_not_end_gets_a_draft(tmp_path: Path) -> None:
    graph = harmful_graphs.endless(tmp_path / "x") / "model.onnx"
    draft = propose_apart(graph, seconds=3)
    assert "does not end within 3 s" in draft.open[0]
    assert draft.document["inputs"][0]["name"] == "x"


def test_a_graph_that_needs_too_much_memory_gets_a_draft(tmp_path: Path) -> None:
    graph = harmful_graphs.huge(tmp_path / "x") / "model.onnx"
    draft = propose_apart(graph, max_bytes=1 << 28)
    assert draft.manifest is None and draft.open


def test_a_child_that_ends_without_an_answer_gets_a_draft(tmp_path: Path) -> None:
    graph = graphs.UNIFORM.write(tmp_path) / "model.onnx"
    draft = propose_apart(graph, max_bytes=0)
    assert draft.manifest is None and draft.open


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("nothing")
    with pytest.raises(StartupError, match="not a valid ONNX file"):
        propose_apart(tmp_path / "x.onnx")
    assert os.listdir(tmp_path) == ["x.onnx"]
