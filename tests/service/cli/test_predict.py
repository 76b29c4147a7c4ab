"""`cellgate predict`: the answers are those of /predict, each once, in order, also after an interruption."""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from service.manifest import Manifest
from service.offline import lines
from service.offline.block import Answered
from service.offline.engine_pool import EnginePool
from tests.service.cli.command import run


def write_lines(path: Path, utterance: list[list[float]], count: int = 7) -> None:
    rows = [json.dumps({"id": n, "steps": utterance[: n + 1]}) for n in range(count)]
    rows[2] = json.dumps({"id": 2, "steps": [[1.0]]})
    path.write_text("\n".join(rows) + "\n")


def test_a_run_that_is_interrupted_continues_with_each_sequence_once(
    models_dir: Path, utterance: list[list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = tmp_path / "in.ndjson", tmp_path / "out.ndjson"
    write_lines(source, utterance)
    monkeypatch.setattr(lines, "MAX_SEQUENCES", 2)
    answer, answered = EnginePool.answer, []

    def interrupted(self: EnginePool, block: lines.LineBlock) -> Answered:
        answered.append(block)
        if len(answered) == 3:
            raise KeyboardInterrupt
        return answer(self, block)

    with monkeypatch.context() as patch:
        patch.setattr(EnginePool, "answer", interrupted)
        first = run(
            "predict", str(models_dir / "vowels" / "1"), str(source), "-o", str(output), "--jobs", "1"
        )
    assert first.exit_code == 130 and "the same command continues" in first.output and not output.exists()
    part = (tmp_path / "out.ndjson.part").read_text().splitlines()
    assert [json.loads(line)["id"] for line in part] == [0, 1, 2, 3]

    command = ["predict", "vowels/1", str(source), "-o", str(output), "--models-dir", str(models_dir)]
    second = run(*command, "--jobs", "1")
    assert second.exit_code == 0, second.output
    assert (
        "continuing after 4 sequences" in second.output and "7 sequences, 1 of them errors" in second.output
    )
    entries = [json.loads(line) for line in output.read_text().splitlines()]
    assert [entry["id"] for entry in entries] == list(range(7))
    assert entries[2]["error"]["code"] == "wrong_shape" and entries[2]["error"]["pointer"] == "/steps/0"
    assert {"output", "label", "probability"} <= entries[6].keys()
    assert run(*command).exit_code == 1  # the output exists


def test_a_table_gives_the_answers_of_the_same_sequences_as_lines(
    models_dir: Path, vowels: Manifest, utterance: list[list[float]], tmp_path: Path
) -> None:
    rows = np.array(utterance)
    names = [f"call {n}" for n in range(3) for _ in range(n + 4)]
    places = [step for n in range(3) for step in range(n + 4)]
    frame = pl.DataFrame(dict(zip(vowels.inputs[0].features, rows[places].T, strict=True))).insert_column(
        0, pl.Series("call", names)
    )
    frame.write_csv(tmp_path / "in.csv")
    source = tmp_path / "in.ndjson"
    source.write_text("".join(json.dumps(utterance[: n + 4]) + "\n" for n in range(3)))
    model = str(models_dir / "vowels" / "1")
    table, plain = tmp_path / "out.parquet", tmp_path / "out.ndjson"
    shown = run("predict", model, str(tmp_path / "in.csv"), "--id", "call", "-o", str(table), "--jobs", "1")
    assert shown.exit_code == 0, shown.output
    assert run("predict", model, str(source), "-o", str(plain), "--jobs", "1").exit_code == 0
    answers = pl.read_parquet(table)
    assert answers["call"].to_list() == ["call 0", "call 1", "call 2"]
    expected = [json.loads(line) for line in plain.read_text().splitlines()]
    labels = [f"output_{label}" for label in vowels.outputs[0].labels]
    got = answers.select(labels).to_numpy()
    assert (got == np.array([entry["output"] for entry in expected], np.float32)).all()
    assert answers["label"].to_list() == [entry["label"] for entry in expected]


def test_what_cannot_be_run_is_said_before_anything_is_written(models_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.ndjson"
    source.write_text("[[1]]\n")
    arguments = [str(source), "--models-dir", str(models_dir), "-o"]
    for model, output, expected in (
        ("vowels", "out.txt", "expected a name that ends with one of"),
        ("nothing", "out.csv", "no model 'nothing' in"),
        ("vowels/9", "out.csv", "no version 9 of vowels"),
        ("a/b/c", "out.csv", "neither a folder with model.json nor NAME"),
    ):
        shown = run("predict", model, *arguments, str(tmp_path / output))
        assert shown.exit_code == 1 and expected in shown.output
    assert [path.name for path in tmp_path.iterdir()] == ["in.ndjson"]


def test_tables_without_polars_name_the_extra(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.delitem(sys.modules, "service.offline.table_answers", raising=False)
    (tmp_path / "in.ndjson").write_text("[[1]]\n")
    model = str(models_dir / "vowels" / "1")
    shown = run("predict", model, str(tmp_path / "in.ndjson"), "-o", str(tmp_path / "out.csv"))
    assert shown.exit_code == 1 and "pip install 'cellgate[table]'" in shown.output


@pytest.mark.parametrize(
    ("key", "name"), [("label", "out.csv"), ("error", "out.parquet"), ("output", "out.ndjson")]
)
def test_a_column_of_sequences_named_like_an_answer_is_refused(
    models_dir: Path, vowels: Manifest, tmp_path: Path, key: str, name: str
) -> None:
    """It would have been overwritten by the answers."""
    source = tmp_path / "in.csv"
    pl.DataFrame({each: [0.5] for each in (key, *vowels.inputs[0].features)}).write_csv(source)
    model, output = str(models_dir / "vowels" / "1"), str(tmp_path / name)
    shown = run("predict", model, str(source), "--id", key, "-o", output)
    assert shown.exit_code == 1 and f"answer's {key!r}" in shown.output
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_the_file_itself_is_never_the_output(models_dir: Path, tmp_path: Path) -> None:
    (source := tmp_path / "in.ndjson").write_text("[[0.5]]\n")
    model = str(models_dir / "vowels" / "1")
    shown = run("predict", model, str(source), "-o", str(source), "--force")
    assert shown.exit_code == 1 and "is the file to predict" in shown.output
    assert source.read_text() == "[[0.5]]\n"
