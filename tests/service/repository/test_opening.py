"""What is served is what was read and tried, whatever happens to the files meanwhile."""

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.engine import Batching
from service.engine.content import GraphContent
from service.errors import StartupError
from service.metrics import Loads, Metrics, Registry, add_up
from service.repository import Hardware, Loader, Repository, SafeLoader, Trials
from service.repository.load import PreparedModel
from service.repository.snapshot import Snapshot, fingerprint
from service.sequence import Batch, Chunk, Sequence
from service.sessions import Binding
from tests.service import graphs, harmful_graphs

BATCHING = Batching(max_batch=8, chunk_steps=16, max_waiting=64)
HARDWARE = Hardware("cpu", 1)


class Untried(Trials):
    """Every version passes at a level; before, something may happen to its files."""

    def __init__(self, level: Any = "all", meanwhile: Any = lambda: None) -> None:
        super().__init__(batching=BATCHING, provider="cpu", threads=1, seconds=60, max_bytes=1 << 30)
        self.level, self.meanwhile = level, meanwhile

    def optimization(self, folder: Path, digest: str) -> Any:
        assert folder.is_dir() and len(digest) == 64
        self.meanwhile()
        return self.level


def safe(trials: Trials | None = None, loader: Loader | None = None) -> SafeLoader:
    return SafeLoader(loader or Loader(BATCHING, HARDWARE), trials or Untried())


def test_a_version_is_prepared_at_the_level_of_its_trial(tmp_path: Path) -> None:
    folder = graphs.UNIFORM.write(tmp_path)
    prepared = safe(Untried("basic")).prepare(folder)
    assert (prepared.optimization, prepared.binding) == (
        "basic",
        Binding("uniform", "1", fingerprint(folder)),
    )


def test_weights_that_are_overwritten_in_place_do_not_change_what_is_served(tmp_path: Path) -> None:
    """ONNX Runtime would map the file: the answers changed under the sessions, or the process ended."""
    folder = harmful_graphs.scaled(tmp_path / "scaled" / "1", 1.0)
    engine = safe().prepare(folder).engine
    steps = np.ones((2, 1), np.float32)

    def answer() -> list[float]:
        (result,) = engine.run(Batch([Chunk(Sequence((steps,), engine.initial_state), 0, 2)]))
        return result.output.ravel().tolist()

    before = answer()
    (folder / "weights.bin").write_bytes(bytes((folder / "weights.bin").stat().st_size))
    assert answer() == before and before[-1] == 2.0
    os.truncate(folder / "weights.bin", 0)
    assert answer() == before


def test_files_that_change_during_the_load_are_loaded_again(tmp_path: Path) -> None:
    folder = harmful_graphs.scaled(tmp_path / "scaled" / "1", 1.0)
    other = harmful_graphs.scaled(tmp_path / "other" / "1", 5.0)
    changes = [(other / name) for name in ("weights.bin", "model.json")]

    def meanwhile() -> None:
        while changes:
            changed = changes.pop()
            (folder / changed.name).write_bytes(changed.read_bytes())

    prepared = safe(Untried(meanwhile=meanwhile)).prepare(folder)
    assert prepared.binding.graph == fingerprint(other)


def test_files_that_never_rest_are_refused(tmp_path: Path) -> None:
    folder = graphs.UNIFORM.write(tmp_path)
    with pytest.raises(StartupError, match="its files change while it is being loaded"):
        safe(Untried(meanwhile=(folder / "model.json").touch)).prepare(folder)


def test_a_faulty_manifest_is_reported_before_a_missing_graph(tmp_path: Path) -> None:
    folder = graphs.UNIFORM.write(tmp_path)
    (folder / "model.json").write_text("{")
    (folder / "model.onnx").unlink()
    with pytest.raises(StartupError, match=r"model\.json: Invalid JSON"):
        safe().prepare(folder)


def test_loads_are_counted_and_timed(tmp_path: Path) -> None:
    async def work() -> Metrics:
        metrics = Metrics(Registry())
        loader = SafeLoader(Loader(BATCHING, HARDWARE), Untried(), loads=Loads(metrics))
        folder = graphs.UNIFORM.write(tmp_path)
        loader.load(folder)
        (folder / "model.json").write_text("{")
        with pytest.raises(StartupError):
            loader.prepare(folder)
        return metrics

    registry = asyncio.run(work()).registry
    totals = add_up(registry.described, registry.read)
    assert totals["cellgate_model_loads"] == {("loaded",): [1.0], ("failed",): [1.0]}
    assert totals["cellgate_model_load_seconds"]["uniform", "1"][0] > 0


def test_whatever_a_load_raises_is_a_fault_of_that_version(tmp_path: Path) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise KeyError("state")

    folder = graphs.UNIFORM.write(tmp_path)
    with pytest.raises(StartupError, match=r"uniform/1: it cannot be loaded: KeyError: 'state'"):
        safe(loader=Loader(BATCHING, HARDWARE, open_engine=fail)).prepare(folder)
    with pytest.raises(StartupError, match=r"uniform/1: it cannot be loaded: RecursionError: deep"):
        safe(Untried(meanwhile=lambda: (_ for _ in ()).throw(RecursionError("deep")))).prepare(folder)


def test_a_harmful_version_is_left_out_and_the_others_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    harmful_graphs.huge(tmp_path / "huge" / "1")
    trials = Trials(batching=BATCHING, provider="cpu", threads=1, seconds=60, max_bytes=1 << 30)

    async def names() -> list[str]:
        loader = safe(trials)
        loader.try_all([tmp_path / "huge" / "1", tmp_path / "uniform" / "1"])
        repository = Repository.load(tmp_path, loader)
        await repository.stop()
        return [model.name for model in repository]

    with pytest.raises(StartupError, match="can be served"):
        asyncio.run(names())
    graphs.UNIFORM.write(tmp_path)
    assert asyncio.run(names()) == ["uniform"]
    assert "not served: " in caplog.text and "bytes of memory" in caplog.text


def test_the_content_of_a_snapshot_is_what_is_opened(tmp_path: Path) -> None:
    folder = harmful_graphs.scaled(tmp_path / "scaled" / "1", 1.0)
    opened: list[Any] = []

    class Recording(Loader):
        def prepare(
            self,
            folder: Path,
            files: bytes | None = None,
            states: Mapping[str, bytes] | None = None,
            content: GraphContent | None = None,
        ) -> PreparedModel:
            opened.append(self.open_engine)
            assert content == self.open_engine.keywords["content"]  # type: ignore[attr-defined]
            return super().prepare(folder, files, states, content)

    safe(loader=Recording(BATCHING, HARDWARE)).prepare(folder)
    assert opened[0].keywords["content"] == Snapshot.read(folder).content
