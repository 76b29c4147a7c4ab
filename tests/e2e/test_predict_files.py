"""`cellgate predict --url`: a real server gives the bytes that the engine gives without one."""

import json
from collections.abc import Callable
from pathlib import Path

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
    page = [step for step in steps(ROOT / "docs" / "predict-files.md") if not step.needs]
    *commands, script = [step.text.replace("http://127.0.0.1:8000", servers("1").url) for step in page]
    assert len(commands) == 3 and page[-1].language == "python"
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
