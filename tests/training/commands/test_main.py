"""The command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.manifest import GatesSpec, Manifest
from training import cells
from training.__main__ import main
from training.run import Run


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["export"]])
def test_help_shows_examples(command: list[str]) -> None:
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert f"\n  cellgate-train {' '.join(command)}" in result.output


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"]])
def test_help_imports_no_torch(command: list[str]) -> None:
    code = f"""
import sys
from click.testing import CliRunner
from training.__main__ import main
result = CliRunner().invoke(main, {command})
assert result.exit_code == 0, result.output
sys.exit("torch" in sys.modules or "matplotlib" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("command", ["evaluate", "explain", "compress"])
def test_a_missing_run_is_reported_before_torch_is_imported(command: str) -> None:
    words = [command, "nowhere", *(["--test", "0"] if command == "explain" else [])]
    code = f"""
import sys
from click.testing import CliRunner
from training.__main__ import main
result = CliRunner().invoke(main, {words})
assert result.exit_code == 1, result.output
assert "runs/nowhere holds no finished run" in result.output, result.output
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "training", "--version"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "version" in done.stdout


def test_train_prints_lines_and_exports(tmp_path: Path) -> None:
    out, folder = tmp_path / "run", tmp_path / "models" / "1"
    options = ["--hidden", 8, "--epochs", 2, "--seed", 3, "--accelerator", "cpu"]
    result = call("train", "vowels", *map(str, options), "--out", out, "--export", folder)
    assert result.exit_code == 0, result.output
    assert "epoch 2/2  loss " in result.output
    assert "  accuracy " in result.output
    assert "left 0 s" in result.output
    assert "epoch 2 of 2 kept, test accuracy" in result.output
    manifest = Manifest.read(folder)
    metrics = json.loads((out / "metrics.json").read_text())
    assert manifest.metrics["test_accuracy"] == metrics["test_accuracy"]
    assert manifest.provenance is not None
    assert manifest.provenance.seed == 3
    assert manifest.provenance.command.startswith(
        "cellgate-train train vowels --hidden 8 --epochs 2 --seed 3"
    )


def test_the_articles_recipe_is_ten_plain_epochs(tmp_path: Path) -> None:
    assert call("train", "vowels", "--recipe", "article", "--out", tmp_path / "run").exit_code == 0
    recipe = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]
    assert (recipe["hidden"], recipe["batch_size"], recipe["epochs"]) == (128, 32, 10)
    assert not any(recipe[name] for name in ("dropout", "noise", "weight_decay", "patience"))


def test_evaluate_scores_a_run(finished: Run) -> None:
    result = call("evaluate", finished.folder)
    assert result.exit_code == 0, result.output
    assert f"accuracy {finished.metrics['test_accuracy']:.4f}" in result.output
    on_train = call("evaluate", finished.folder, "--split", "train")
    assert "train part" in on_train.output


def test_export_writes_a_run(finished: Run, tmp_path: Path) -> None:
    result = call("export", tmp_path / "1", "--run", finished.folder)
    assert result.exit_code == 0, result.output
    assert "differs from float64 by at most" in result.output
    assert "(limit " in result.output
    metrics = Manifest.read(tmp_path / "1").metrics
    assert metrics == finished.test_metrics() | {"temperature": finished.metrics["temperature"]}
    before = (tmp_path / "1" / "model.json").stat().st_mtime_ns
    again = call("export", tmp_path / "1", "--run", finished.folder)
    assert again.exit_code == 0, again.output
    assert (tmp_path / "1" / "model.json").stat().st_mtime_ns == before
    (tmp_path / "1" / "model.json").write_text((tmp_path / "1" / "model.json").read_text() + " ")
    assert call("export", tmp_path / "1", "--run", finished.folder).exit_code == 0, "the same manifest"
    changed = Manifest.read(tmp_path / "1").model_copy(update={"description": "ours"})
    changed.write(tmp_path / "1")
    refused = call("export", tmp_path / "1", "--run", finished.folder)
    assert refused.exit_code == 1
    assert "--force replaces it" in refused.output
    assert Manifest.read(tmp_path / "1") == changed


def test_the_same_command_twice_trains_once(tmp_path: Path) -> None:
    words = ["train", "vowels", "--hidden", "4", "--epochs", "1", "--out", str(tmp_path / "run")]
    first = call(*words, "--export", tmp_path / "1")
    assert first.exit_code == 0, first.output
    weights = (tmp_path / "run" / "weights.pt").stat().st_mtime_ns
    second = call(*words, "--export", tmp_path / "1")
    assert second.exit_code == 0, second.output
    assert "is finished; --force trains it again" in second.output
    assert (tmp_path / "run" / "weights.pt").stat().st_mtime_ns == weights


def test_an_export_folder_that_exists_is_refused_before_the_training(tmp_path: Path) -> None:
    """The training of hours once ended with this error."""
    (tmp_path / "1").mkdir()
    result = call("train", "vowels", "--out", tmp_path / "run", "--export", tmp_path / "1")
    assert result.exit_code == 1
    assert "--force replaces it" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("package", ["rich", "polars", "torch", "lightning"])
def test_a_missing_package_is_one_line_that_names_the_extra(package: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from training.__main__ import main; main()"
    words = ["train", "vowels", "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    *_, last = done.stderr.splitlines()
    assert last.startswith(f"Error: cellgate-train needs {package}, which is not installed. In a clone: pip")


def test_a_command_says_at_once_that_it_loads_torch(tmp_path: Path) -> None:
    """PyTorch takes seconds to load, and the screen stayed empty."""
    code = """
import click, sys
from click.testing import CliRunner
from training.__main__ import main

class Loading(Exception): pass
def echo(text, err=False):
    assert "torch" not in sys.modules and text.startswith("loading PyTorch"), text
    raise Loading
click.echo = echo
assert isinstance(CliRunner().invoke(main, ["train", "vowels"]).exception, Loading)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_export_makes_random_models_of_any_size(tmp_path: Path) -> None:
    size = ["--hidden", "20", "--layers", "2", "--features", "5", "--classes", "3"]
    result = call("export", tmp_path / "1", "--random", *size)
    assert result.exit_code == 0, result.output
    manifest = Manifest.read(tmp_path / "1")
    assert manifest.inputs[0].dims == (5,)
    assert manifest.outputs[0].dims == (3,)
    assert manifest.states[0].shape == (2, "batch", 20)


def test_export_adds_the_gates_of_each_layer(tmp_path: Path) -> None:
    result = call("export", tmp_path / "1", "--random", "--cell", "gru", "--layers", "2", "--trace")
    assert result.exit_code == 0, result.output
    manifest = Manifest.read(tmp_path / "1")
    assert [(each.name, each.kind, each.dims) for each in manifest.outputs[2:]] == [
        (f"gates_of_layer_{layer}", "gates", (3 * 128,)) for layer in range(2)
    ]
    assert manifest.outputs[3].gates == GatesSpec(
        names=("update_gate", "reset_gate", "in_transform"), layer=1
    )
    assert manifest.provenance is not None and "--random" in manifest.provenance.command
    assert "--trace" in manifest.provenance.command


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["train", "nouns"], "'nouns' is not"),
        (["train", "vowels", "--recipe", "magic"], "the recipes of vowels are regularised, article"),
        (["train", "vowels", "--hidden", "0"], "--hidden"),
        (["train", "vowels", "--dropout", "1"], "--dropout"),
        (["train", "vowels", "--seed", "-1"], "--seed"),
        (["train", "vowels", "--cell", "brain", "--out", "OUT"], "no cell 'brain'; there are: "),
        (["train", "vowels", "--seeds", "5", "--export", "x"], "--seeds cannot be combined with"),
        (["evaluate", "OUT"], "holds no finished run"),
        (["export", "OUT"], "either --run or --random"),
        (["export", "OUT", "--run", "OUT"], "holds no finished run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_without_a_traceback(
    arguments: list[str], complaint: str, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    result = call(*(out if word == "OUT" else word for word in arguments))
    assert result.exit_code in (1, 2)
    assert "Error: " in result.output
    assert complaint in result.output
    assert "Traceback" not in result.output
    assert not Path(out).exists()


@pytest.mark.parametrize("cell", cells.names())
def test_every_cell_is_trained_and_exported(cell: str, tmp_path: Path) -> None:
    size = ["--cell", cell, "--layers", "2", "--hidden", "6", "--layer-dropout", "0.2", "--epochs", "1"]
    result = call("train", "vowels", *size, "--out", tmp_path / "run", "--export", tmp_path / "1")
    assert result.exit_code == 0, result.output
    assert "differs from float64 by at most" in result.output
    manifest = Manifest.read(tmp_path / "1")
    assert manifest.causal is (cell != "bidirectional")
    assert manifest.chunkable is manifest.causal
