"""Blocks answered by the engine: each sequence as alone, whatever is wrong with its neighbours."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper

from service.engine import OnnxEngine
from service.engine.flat import Flat, run_flat
from service.manifest import Manifest
from service.offline import answering, lines, plain_lines, tables
from service.offline.answering import EngineTask, answerer
from service.offline.answers import LineEncoder
from service.offline.block import Answered, Block
from service.offline.lines import LineBlock
from service.offline.table_block import TableBlock
from service.repository.folders import read_manifest
from service.sequence import Array
from tests.service import oven_model

Answer = Callable[[Block], Answered]


def open_model(folder: Path, *, keep_all: bool = False, max_steps: int = 6) -> Answer:
    task = EngineTask(
        folder=folder, provider="cpu", threads=1, max_batch=4, chunk_steps=4, max_call_bytes=1e9,
        max_steps=max_steps, keep_all=keep_all, encoder=LineEncoder(),
    )  # fmt: skip
    return answerer(task)


@pytest.fixture(scope="module")
def oven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of a table whose calls take rows of several lengths."""
    folder = oven_model.write(tmp_path_factory.mktemp("models"))
    graph = onnx.load(folder / "model.onnx")
    graph.graph.input.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["N"]))
    onnx.save(graph, folder / "model.onnx")
    (folder / "model.json").write_text(json.dumps(oven_model.MANIFEST | {"lengths": "lengths"}))
    return folder


def check(blocks: list[Block], answer: Answer, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The answers, which are the same if every sequence is decoded and run for itself."""
    calls: list[Flat] = []

    def counted(
        engine: OnnxEngine, flat: Flat, *, max_batch: int, keep_all: bool
    ) -> Array | list[Array] | None:
        calls.append(flat)
        return run_flat(engine, flat, max_batch=max_batch, keep_all=keep_all)

    with monkeypatch.context() as patch:
        patch.setattr(answering, "run_flat", counted)
        together = [answer(block) for block in blocks]
    assert len(calls) == len(blocks)
    with monkeypatch.context() as patch:
        for kind in (LineBlock, TableBlock):
            patch.setattr(kind, "to_flat", lambda *_: None)
        assert together == [answer(block) for block in blocks]
    entries = [json.loads(line) for each in together for line in each.encoded.splitlines()]
    assert sum(each.num_failed for each in together) == sum("error" in entry for entry in entries)
    return entries


@pytest.mark.parametrize("keep_all", [False, True])
def test_lines(
    keep_all: bool,
    models_dir: Path,
    utterance: list[list[float]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "in.ndjson"
    rows = [json.dumps({"id": n, "steps": utterance[: 1 + n % 7]}) for n in range(20)]
    rows[4], rows[11], rows[12] = json.dumps(utterance[:2]), '{"id": "x", "steps": [[1]]}', "oops"
    path.write_text("\n".join(rows))
    monkeypatch.setattr(plain_lines, "AT_ONCE", 3)
    answer = open_model(models_dir / "vowels" / "1", keep_all=keep_all)
    entries = check(list(lines.blocks(path)), answer, monkeypatch)
    assert [entry.get("id") for entry in entries] == [
        *range(4),
        None,
        *range(5, 11),
        "x",
        None,
        *range(13, 20),
    ]
    assert [n for n, entry in enumerate(entries) if "error" in entry] == [6, 11, 12, 13]  # 7 steps are many


def test_tables(models_dir: Path, vowels: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.csv"
    numbers = np.random.default_rng(0).standard_normal((60, 12)).astype(str)
    numbers[7, 3], numbers[30, 0] = "oops", ""
    names = [f"k{n // 3}" for n in range(60)]
    pl.DataFrame(
        dict(zip(vowels.inputs[0].features, numbers.T.tolist(), strict=True)) | {"call": names}
    ).write_csv(path)
    blocks = list(tables.blocks(path, vowels, "call"))
    entries = check(list(blocks), open_model(models_dir / "vowels" / "1"), monkeypatch)
    assert [entry["call"] for entry in entries] == [f"k{n}" for n in range(20)]
    assert [n for n, entry in enumerate(entries) if "error" in entry] == [2, 10]


def test_described_tables(oven: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.csv"
    rows = [f"o{n // 3},run,{n},2026-05-01T10:{n:02}" for n in range(30)]
    rows[7], rows[13], rows[20] = "o2,run,oops,2026-05-01T10:07", "o4,fly,13,2026-05-01T10:00", "o6,7,20,"
    path.write_text("\n".join(["oven,mode,temperature,at", *rows]))
    blocks = list(tables.blocks(path, read_manifest(oven), "oven"))
    entries = check(list(blocks), open_model(oven), monkeypatch)
    assert [n for n, entry in enumerate(entries) if "error" in entry] == [2, 4, 6]
    assert entries[3]["output"] == [9 + 10 + 11 + 2000, 2 + 2000]  # two minutes, and "run"
