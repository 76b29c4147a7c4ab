"""`cellgate predict --url`: a real server gives the bytes that the engine gives without one."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from service.manifest import Manifest
from tests.committed import ROOT
from tests.docs.blocks import steps
from tests.e2e.server import Server
from tests.service.cli.command import run


def test_a_server_gives_the_same_bytes_as_the_engine(
    servers: Callable[[str], Server], models_dir: Path, utterance: list[list[float]], tmp_path: Path
) -> None:
    source = tmp_path / "in.ndjson"
    rows = [json.dumps({"id": n, "steps": utterance[: 1 + n % 9]}) for n in range(40)]
    rows[3], rows[5] = "oops", json.dumps({"id": 5, "steps": [[0] * 12, [0] * 11]})
    source.write_text("\n".join(rows) + "\n")
    outputs = [tmp_path / "local.ndjson", tmp_path / "remote.ndjson"]
    local = run(
        "predict", str(models_dir / "vowels" / "1"), str(source), "-o", str(outputs[0]), "--jobs", "1"
    )
    remote = run("predict", "vowels", str(source), "-o", str(outputs[1]), "--url", servers("1").url)
    assert (local.exit_code, remote.exit_code) == (0, 0), local.output + remote.output
    first, second = (path.read_text().splitlines() for path in outputs)
    assert len(first) == 40 and first[:3] + first[6:] == second[:3] + second[6:]
    ours, theirs = (json.loads(line)["error"] for line in (first[5], second[5]))
    assert (
        (ours["code"], ours["pointer"]) == (theirs["code"], theirs["pointer"]) == ("wrong_shape", "/steps/1")
    )


def test_the_commands_of_the_page_succeed(
    servers: Callable[[str], Server],
    models_dir: Path,
    vowels: Manifest,
    utterance: list[list[float]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(models_dir)
    (tmp_path / "utterances.ndjson").write_text(json.dumps({"id": "a", "steps": utterance}) + "\n")
    columns = dict(zip(vowels.inputs[0].features, zip(*utterance, strict=True), strict=True))
    unordered = {"utterance": ["a"] * len(utterance)} | dict(reversed(columns.items()))
    pl.DataFrame(unordered).write_csv("utterances.csv")
    *commands, script = blocks_of_the_page(servers("1"))[:4]
    for command in commands:
        words = command.split()
        done = run(*words[1:])
        assert done.exit_code == 0, done.output
    labels = [
        json.loads((tmp_path / "answers.ndjson").read_text())["label"],
        *pl.read_parquet("answers.parquet")["label"],
        *pl.read_csv("answers.csv")["label"].cast(pl.String),
    ]
    assert labels == ["3"] * 3
    exec(script, {})
    assert capsys.readouterr().out == "a 3\n"


def test_a_map_over_partitions_gives_the_answers_of_a_run(
    servers: Callable[[str], Server],
    models_dir: Path,
    vowels: Manifest,
    utterance: list[list[float]],
    tmp_path: Path,
) -> None:
    """Each sequence has rows in all files: the program brings them together."""
    features = vowels.inputs[0].features
    rows = [(n, step) for n in range(12) for step in range(4 + n)]
    numbers = np.array([utterance[step] for _, step in rows])
    numbers[9, 3] = np.nan  # of the third sequence
    columns = {"utterance": [f"u{n:02}" for n, _ in rows], "step": [step for _, step in rows]}
    table = pl.DataFrame(columns | dict(zip(features, numbers.T, strict=True)))
    table.write_parquet(tmp_path / "whole.parquet")
    (tmp_path / "steps").mkdir()
    for part in range(3):  # the last steps first
        table[::-1].gather_every(3, part).write_parquet(tmp_path / "steps" / f"{part}.parquet")
    program = blocks_of_the_page(servers("1"))[4]
    (tmp_path / "score.py").write_text(program)
    subprocess.run([sys.executable, "-W", "error::UserWarning", "score.py"], cwd=tmp_path, check=True)
    answers = pl.read_parquet(tmp_path / "answers" / "*.parquet").sort("utterance")

    model, source = str(models_dir / "vowels" / "1"), str(tmp_path / "whole.parquet")
    output = tmp_path / "out.parquet"
    done = run("predict", model, source, "--id", "utterance", "-o", str(output), "--jobs", "1")
    assert done.exit_code == 0, done.output
    expected = pl.read_parquet(output)
    for name in ("utterance", "label"):
        assert answers[name].to_list() == expected[name].to_list()
    assert (answers["probability"].cast(pl.Float32).eq_missing(expected["probability"])).all()
    assert [error is not None for error in answers["error"]] == [n == 2 for n in range(12)]

    (tmp_path / "cut.py").write_text(program.replace('table.shuffle("utterance")', "table"))
    cut = subprocess.run([sys.executable, "cut.py"], cwd=tmp_path, capture_output=True, text=True)
    assert cut.returncode == 1 and "a sequence was answered in two parts" in cut.stderr


def blocks_of_the_page(server: Server) -> list[str]:
    """Three commands, a script, and a program that needs Dask."""
    page = [step for step in steps(ROOT / "docs" / "predict-files.md") if not step.needs]
    assert [step.language for step in page] == ["console"] * 3 + ["python"] * 2
    return [step.text.replace("http://127.0.0.1:8000", server.url) for step in page]
