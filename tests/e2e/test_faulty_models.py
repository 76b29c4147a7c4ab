"""Whatever a model folder contains, the other models are served, by first workers and by their successors."""

import os
import signal
from pathlib import Path

import httpx

from tests.e2e.server import Server, running
from tests.service import graphs

FAULTY = 7


def write(root: Path) -> None:
    """One good version, and some that differ in where they fail: at the parent's check, a trial, a load."""
    good = graphs.UNIFORM.write(root)
    graph, manifest = ((good / name).read_bytes() for name in ("model.onnx", "model.json"))
    for name, files in {
        "a-nested": (b"[" * 100_000, graph),
        "b-open": (b'{"constants": "?"}', graph),
        "c-truncated": (manifest, graph[:-20]),
        "d-empty": (b"", b""),
        "e-expects-words": (manifest.replace(b'"output": [', b'"output": ["x", '), graph),
    }.items():
        folder = root / name / "1"
        folder.mkdir(parents=True)
        for file, content in zip(("model.json", "model.onnx"), files, strict=True):
            (folder / file).write_bytes(content)
    for name in ("f-pipe", "g-folder"):
        (root / name / "1").mkdir(parents=True)
        (root / name / "1" / "model.onnx").write_bytes(graph)
    os.mkfifo(root / "f-pipe" / "1" / "model.json")
    (root / "g-folder" / "1" / "model.json").mkdir()


def names(server: Server) -> list[str]:
    shown = httpx.get(f"{server.url}/models", timeout=30).json()
    return [model["name"] for model in shown["models"]]


def test_faulty_versions_keep_no_other_from_being_served(tmp_path: Path) -> None:
    """One of them ended the start, hung it, or kept the workers of a server from being replaced."""
    write(tmp_path / "models")
    with running(tmp_path, models_dir=str(tmp_path / "models"), workers="2", models_poll_s="0.1") as server:
        server.wait_for_log("listening on")
        assert names(server) == ["uniform"]
        assert server.log.read_text().count("not served: ") == 2 * FAULTY
        first = server.workers()
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        server.wait_for_log(f"(?s)(worker .* died.*){{{len(first)}}}")
        server.wait_for_log(f"(?s)(ready: models 1.*){{{2 * len(first)}}}")
        assert names(server) == ["uniform"] and not set(server.workers()) & set(first)
        assert server.stop() == 0
