"""What a run prints of its results: what it beats, where it is, and what comes next."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from service.manifest import Manifest
from training.__main__ import main

SMALL = ("--hidden", 4, "--epochs", 1, "--accelerator", "cpu")


def call(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Units of which one step in twenty is a fault that no column tells; and a run on them."""
    folder = tmp_path_factory.mktemp("faults")
    rows = [
        f"{unit},{step},{'fault' if (unit * 7 + step) % 20 == 0 else 'fine'},{(unit + step) % 3}"
        for unit in range(12)
        for step in range(20)
    ]
    (folder / "units.csv").write_text("unit,t,state,load\n" + "\n".join(rows) + "\n")
    words = ("--data", folder / "units.csv", "--id-column", "unit", "--time-column", "t", "--target", "state")
    (folder / "printed.txt").write_text(call("train", *words, *SMALL, "--out", folder / "run").output)
    return folder


def test_the_last_line_of_a_run_says_what_it_does_not_beat(folder: Path) -> None:
    *_, export, serve, last = (folder / "printed.txt").read_text().splitlines()
    assert last.startswith("on the test part: NOT better than always 'fine': accuracy ")
    assert export == f"to export it: cellgate-train export my-models/units/1 --run {folder / 'run'}"
    assert serve == "to serve it: cellgate serve --models-dir my-models"
    printed = (folder / "printed.txt").read_text()
    assert "baseline" in printed
    assert f"{folder / 'run'}/README.md, confusion.png, learning_curves.png, reliability.png" in printed
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert metrics["baseline_majority_accuracy"] == pytest.approx(0.95)
    assert metrics["test_skill_accuracy"] <= 0
    readme = (folder / "run" / "README.md").read_text()
    assert "NOT better than always 'fine'" in readme
    assert "| fault | 2 | " in readme


def test_a_run_is_evaluated_on_another_file(folder: Path) -> None:
    other = folder / "other.csv"
    other.write_text("unit,t,state,load\n" + "".join(f"a,{step},fine,{step % 3}\n" for step in range(5)))
    output = call("evaluate", folder / "run", "--data", other).output
    assert "other.csv" in output
    assert "note: no sequence or step of this part is 'fault'" in output
    refused = CliRunner().invoke(
        main, ["evaluate", "vowels", "--data", str(other), "--url", "http://localhost"]
    )
    assert "--data requires a run folder" in refused.output


def test_folds_report_mean_and_spread(folder: Path) -> None:
    words = ("--data", folder / "units.csv", "--id-column", "unit", "--target", "state", "--balance")
    output = call("train", *words, *SMALL, "--folds", 2, "--out", folder / "folds").output
    assert "±" in output
    last = output.splitlines()[-1]
    assert last.startswith("NOT better than the baselines: in 0 of 2 folds; skill accuracy ")
    lines = (folder / "folds" / "folds.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| 0", "| 1", "| mean", "| ±"]
    config = json.loads((folder / "folds" / "fold-1" / "config.json").read_text())
    assert (config["table"]["folds"], config["table"]["fold"], config["recipe"]["balance"]) == (2, 1, True)
    refused = CliRunner().invoke(main, ["train", "vowels", "--folds", "3"])
    assert "--folds requires --data" in refused.output


def test_a_number_of_each_sequence_is_regressed_evaluated_and_exported(tmp_path: Path) -> None:
    path = tmp_path / "wear.csv"
    rows = [
        f"{unit},{step},{unit % 5 + 0.1 * step},{10.5 * (unit % 5)}"
        for unit in range(15)
        for step in range(4)
    ]
    path.write_text("unit,t,vibration,life\n" + "\n".join(rows) + "\n")
    words = ("--data", path, "--id-column", "unit", "--time-column", "t", "--target", "life")
    output = call("train", *words, *SMALL, "--out", tmp_path / "run", "--export", tmp_path / "1").output
    assert "task regress: 10 sequences" in output
    assert "the training mean" in output
    manifest = Manifest.read(tmp_path / "1")
    assert (manifest.task, manifest.outputs[0].kind, manifest.outputs[0].labels) == (
        "regress",
        "values",
        ("life",),
    )
    assert [(one.target, one.quantile) for one in manifest.outputs[0].estimates] == [("life", None)]
    assert manifest.metrics["test_error"] == pytest.approx(manifest.metrics["test_error_life"])
    assert (tmp_path / "run" / "residuals.png").is_file()
    assert "r2_life" in call("evaluate", tmp_path / "run").output


def test_a_regression_by_quantiles_has_bands_that_are_widened_drawn_and_exported(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        f"{unit},{step},{rng.normal():.3f},{unit + rng.normal():.2f}"
        for unit in range(15)
        for step in range(9)
    ]
    path = tmp_path / "flow.csv"
    path.write_text("unit,t,rain,flow\n" + "\n".join(rows) + "\n")
    words = ["--data", path, "--id-column", "unit", "--time-column", "t", "--target", "flow", *SMALL]
    words += ["--task", "regress", "--quantile", 0.9, "--quantile", 0.5, "--quantile", 0.1, "--conformal"]
    output = call("train", *words, "--out", tmp_path / "run", "--export", tmp_path / "1").output
    assert "the band from 10% to 90% holds " in output and "margins fitted" in output
    assert (tmp_path / "run" / "predictions.png").is_file()
    manifest = Manifest.read(tmp_path / "1")
    [spec] = manifest.outputs
    assert spec.labels == ("flow q0.1", "flow q0.5", "flow q0.9")
    assert [(one.target, one.short_name) for one in spec.estimates] == [
        ("flow", "q10"), ("flow", "q50"), ("flow", "q90"),
    ]  # fmt: skip
    assert "conformal_margin_flow" in manifest.metrics
    assert "coverage_flow" in call("evaluate", tmp_path / "run").output
    assert "'flow q0.5'" in call("explain", tmp_path / "run", "--test", 0).output
    again = json.loads((tmp_path / "run" / "config.json").read_text())
    assert again["table"]["quantiles"] == [0.1, 0.5, 0.9]
    refused = CliRunner().invoke(
        main,
        [
            str(word)
            for word in ("train", "--data", path, "--target", "unit", "--task", "label", "--quantile", 0.5)
        ],
    )
    assert "--quantile is for numbers to forecast or regress" in refused.output


def test_a_text_becomes_a_language_model(tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    path.write_text("the cat sat on a mat and the dog sat on the cat\n" * 60)
    output = call(
        "train", "--data", path, *SMALL, "--out", tmp_path / "run", "--export", tmp_path / "1"
    ).output
    assert "task language: " in output and "bits per token" in output
    manifest = Manifest.read(tmp_path / "1")
    assert manifest.task == "language" and manifest.inputs[0].tokenizer is not None
    assert set(manifest.inputs[0].vocabulary) == set("the cat sat on a mat and the dog\n")
    assert "bits" in call("evaluate", tmp_path / "run").output
