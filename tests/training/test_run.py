"""A run: the same seed gives the same network; the folder is complete; an interruption changes nothing."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from training import devices, loop, run, warm_start
from training.config import Config, Table
from training.data.fetch import FetchError
from training.data.table import RECIPES, fingerprint
from training.seeds import median_of, train_seeds

PNG = b"\x89PNG\r\n\x1a\n"


def start(config: Config, folder: Path) -> subprocess.Popen[str]:
    """Start the command of the run folder's README in a process group of its own, like a terminal."""
    arguments = shlex.split(run.command(config))[1:]
    command = [sys.executable, "-W", "error", "-m", "training", *arguments, "--out", str(folder)]
    # Lightning starts DDP's helpers in the environment of their parent; this process must not look like one
    env = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE")}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=env
    )


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(folder / run.WEIGHTS_FILE, weights_only=True)
    return weights


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = weights_of(one), weights_of(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_folder_holds_all_results(finished: run.Run) -> None:
    folder = finished.folder
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == finished.metrics
    assert 0 < metrics["test_accuracy"] < 1
    header, *rows = (folder / "metrics.csv").read_text().splitlines()
    assert header == "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds"
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3", "4"]
    losses = [float(row.split(",")[3]) for row in rows]
    assert metrics["kept_epoch"] == 1 + losses.index(min(losses))
    assert Config.read(folder) == finished.config
    assert (folder / "learning_curves.png").read_bytes().startswith(PNG)
    assert (folder / "confusion.png").read_bytes().startswith(PNG)
    assert (folder / "reliability.png").read_bytes().startswith(PNG)
    assert metrics["test_skill_accuracy"] == pytest.approx(
        1 - (1 - metrics["test_accuracy"]) / (1 - metrics["baseline_majority_accuracy"])
    )
    assert finished.skill().metrics().items() <= metrics.items()


def test_a_run_folder_has_the_command_that_reproduces_it(finished: run.Run) -> None:
    text = (finished.folder / "README.md").read_text()
    assert f"Made with python {sys.version.split()[0]}, torch {version('torch')}, " in text
    assert "cellgate-train train vowels --hidden 24 --epochs 4" in text
    assert "CC BY 4.0" in text
    assert f"\n{finished.skill().verdict().capitalize()[:12]}" in text
    assert "| class | true | correct | recall | precision | F1 |" in text


def test_a_run_from_before_an_option_existed_is_the_same_run(finished: run.Run, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    old = json.loads((tmp_path / "run" / "config.json").read_text())
    del old["recipe"]["balance"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(old))
    assert (again := run.train(finished.config, tmp_path / "run")) is not None
    assert again.metrics == finished.metrics


def test_a_finished_run_is_read_as_it_was(finished: run.Run) -> None:
    again = run.read(finished.folder)
    assert again.metrics == finished.metrics
    theirs = finished.network.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in again.network.state_dict().items())


def test_the_same_seed_gives_the_same_network_and_another_does_not(finished: run.Run, tmp_path: Path) -> None:
    run.train(finished.config, tmp_path / "same")
    assert_same_weights(finished.folder, tmp_path / "same")
    run.train(finished.config.model_copy(update={"seed": 1}), tmp_path / "other")
    assert not torch.equal(
        *(weights_of(folder)["head.weight"] for folder in (finished.folder, tmp_path / "other"))
    )


def test_without_patience_the_last_epoch_is_kept(small: Config, tmp_path: Path) -> None:
    recipe = small.recipe.model_copy(
        update={"patience": 0, "learning_rate": 1.0, "epochs": 3}
    )  # never improves
    done = run.train(small.model_copy(update={"recipe": recipe}), tmp_path / "run")
    assert done is not None
    assert (done.metrics["kept_epoch"], done.metrics["epochs"]) == (3, 3)
    last = torch.load(tmp_path / "run" / loop.CHECKPOINTS / loop.LAST, weights_only=True)
    assert last["epoch"] == 2


def test_the_checkpoint_to_resume_from_is_the_last_epoch_even_if_it_is_not_the_best(
    small: Config, tmp_path: Path
) -> None:
    recipe = small.recipe.model_copy(update={"patience": 2, "learning_rate": 1.0, "epochs": 50})
    done = run.train(small.model_copy(update={"recipe": recipe}), tmp_path / "run")
    assert done is not None
    checkpoints = tmp_path / "run" / loop.CHECKPOINTS
    last, best = (torch.load(checkpoints / name, weights_only=True) for name in (loop.LAST, loop.BEST))
    assert last["epoch"] + 1 == done.metrics["epochs"]
    assert best["epoch"] + 1 == done.metrics["kept_epoch"] == done.metrics["epochs"] - 2


def test_training_stops_early_without_improvement(small: Config, tmp_path: Path) -> None:
    recipe = small.recipe.model_copy(update={"patience": 1, "learning_rate": 1.0, "epochs": 50})
    done = run.train(small.model_copy(update={"recipe": recipe}), tmp_path / "run")
    assert done is not None
    assert done.metrics["kept_epoch"] == done.metrics["epochs"] - 1 < 49


def test_a_finished_run_is_not_trained_again_without_force(small: Config, finished: run.Run) -> None:
    before = (finished.folder / run.WEIGHTS_FILE).stat().st_mtime_ns
    again = run.train(small, finished.folder)
    assert again is not None
    assert again.metrics == finished.metrics
    assert (finished.folder / run.WEIGHTS_FILE).stat().st_mtime_ns == before


def test_a_run_with_other_options_is_refused(small: Config, tmp_path: Path) -> None:
    small.write(tmp_path)
    other = small.model_copy(update={"seed": 5, "recipe": small.recipe.model_copy(update={"epochs": 1})})
    with pytest.raises(run.RunError, match="started with other options"):
        run.train(other, tmp_path)
    assert run.train(other, tmp_path, force=True)
    assert Config.read(tmp_path) == other


def test_force_resumes_an_interrupted_run_with_the_same_options(small: Config, tmp_path: Path) -> None:
    small.write(tmp_path)
    (tmp_path / "left.txt").write_text("written before Ctrl-C")
    assert run.train(small, tmp_path, force=True)
    assert (tmp_path / "left.txt").exists()
    assert run.train(small, tmp_path, force=True)  # finished by now: starts again
    assert not (tmp_path / "left.txt").exists()


def test_a_folder_that_is_no_run_is_never_emptied(small: Config, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(run.RunError, match="not a run folder"):
        run.train(small, tmp_path, force=True)
    assert (tmp_path / "thesis.txt").exists()


def test_an_unfinished_run_is_not_read(small: Config, tmp_path: Path) -> None:
    small.write(tmp_path)
    with pytest.raises(run.RunError, match="holds no finished run"):
        run.read(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is available")
def test_a_missing_gpu_is_reported_before_anything_is_written(small: Config, tmp_path: Path) -> None:
    config = small.model_copy(update={"accelerator": "cuda"})
    with pytest.raises(devices.DeviceError, match=r"without CUDA|0 CUDA devices are available"):
        run.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unavailable_data_leaves_no_folder(
    small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLGATE_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(FetchError):
        run.train(small, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_starts_with_the_weights_of_another_and_says_so(finished: run.Run, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "source")
    (tmp_path / "source" / warm_start.INTERFACE_FILE).unlink()  # as in a run from before the file existed
    recipe = finished.config.recipe.model_copy(update={"epochs": 1, "learning_rate": 1e-12})
    config = finished.config.model_copy(
        update={"recipe": recipe, "warm_start": warm_start.source(tmp_path / "source")}
    )
    done = run.train(config, tmp_path / "run", loaded=finished.data)
    assert done is not None
    assert done.test_metrics()["test_accuracy"] == finished.test_metrics()["test_accuracy"]
    page = (done.folder / "README.md").read_text()
    assert f"--from {tmp_path}/source\n" in page
    assert f"Started with the weights and the normalisation of {tmp_path}/source (SHA-256 " in page
    assert "--from source" in run.command(config, is_public=True)
    assert run.read(done.folder, loaded=finished.data).config == config
    with pytest.raises(run.RunError, match="is the run folder itself"):
        run.train(config, tmp_path / "source", force=True, loaded=finished.data)
    assert run.is_finished(tmp_path / "source")


def test_weights_of_another_network_are_reported(finished: run.Run, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "run")
    torch.save({"shift": torch.zeros(3)}, tmp_path / "run" / run.WEIGHTS_FILE)
    with pytest.raises(run.RunError, match=r"train it again:\n  cellgate-train train vowels --hidden 24"):
        run.read(tmp_path / "run")


def test_checkpoints_hold_no_pickled_classes(finished: run.Run) -> None:
    for name in (loop.BEST, loop.LAST):
        torch.load(finished.folder / loop.CHECKPOINTS / name, weights_only=True)


def test_several_seeds_make_a_table_and_are_not_repeated(small: Config, tmp_path: Path) -> None:
    config = small.model_copy(update={"recipe": small.recipe.model_copy(update={"epochs": 1})})
    rows = train_seeds(config, tmp_path, count=3)
    assert [row["seed"] for row in rows] == [0, 1, 2]
    assert min(row["test_accuracy"] for row in rows) <= median_of(rows, "test_accuracy")
    assert len((tmp_path / "seeds.csv").read_text().splitlines()) == 4
    assert (tmp_path / "seeds.md").read_text().splitlines()[-1].startswith("| median |")
    modified = (tmp_path / "seed-1" / run.METRICS_FILE).stat().st_mtime_ns
    assert train_seeds(config, tmp_path, count=3) == rows
    assert (tmp_path / "seed-1" / run.METRICS_FILE).stat().st_mtime_ns == modified


def test_ctrl_c_and_the_same_command_equal_an_undisturbed_run(small: Config, tmp_path: Path) -> None:
    schedule = {"schedule": "plateau", "warm_up": 8}
    recipe = small.recipe.model_copy(update={"epochs": 24, "patience": 20, **schedule})
    config, whole, broken = (
        small.model_copy(update={"recipe": recipe}),
        tmp_path / "whole",
        tmp_path / "broken",
    )
    run.train(config, whole)

    with start(config, broken) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if line.startswith("epoch 5/24"):
                break
        os.killpg(first.pid, signal.SIGINT)
        output = first.stdout.read()
    assert first.returncode == 130, output
    assert "the same command resumes" in output
    assert not run.is_finished(broken)

    second = start(config, broken)
    output, _ = second.communicate(timeout=600)
    assert second.returncode == 0, output
    _, _, resumed = output.partition("epoch ")  # behind a line that says that PyTorch is being loaded
    assert int(resumed.split("/")[0]) in (5, 6)
    assert (broken / "config.json").read_text() == (whole / "config.json").read_text()
    assert_same_weights(whole, broken)
    ours, theirs = ((folder / "metrics.csv").read_text().splitlines() for folder in (whole, broken))
    for row, other in zip(ours, theirs, strict=True):
        assert row.rsplit(",", 1)[0] == other.rsplit(",", 1)[0]  # all but the seconds


def even_batches(small: Config) -> Config:
    """Without dropout and noise, DDP's averaged gradients equal those of the whole batch up to rounding."""
    update = {"dropout": 0.0, "noise": 0.0, "epochs": 2, "validation": 0.05}  # 252 sequences: even batches
    return small.model_copy(update={"recipe": small.recipe.model_copy(update=update)})


def unequal_numbers_of_targets(target: str, folder: Path) -> Config:
    """Each process's mean once had the same weight, however few its targets: labels, forecasts with gaps."""
    rng = np.random.default_rng(0)
    path = folder / "rooms.csv"
    rows = ["room,step,level,state"]
    for room in range(100):  # 64 of them for training: even batches
        for step in range(1 + room % 10 * 4 if room % 2 else 3):
            level = "" if room % 3 == 0 and step % 4 else f"{rng.normal():.3f}"
            rows.append(f"{room},{step},{level},{('low', 'high')[int(rng.integers(2))]}")
    path.write_text("\n".join(rows) + "\n")
    table = Table(
        path=str(path), sha256=fingerprint(path), targets=(target,), id_column="room", time_column="step"
    )
    recipe = next(iter(RECIPES.values())).model_copy(
        update={"hidden": 8, "epochs": 2, "batch_size": 16, "dropout": 0.0, "noise": 0.0}
    )
    return Config(data="rooms", recipe=recipe, table=table, accelerator="cpu")


def test_two_processes_train_the_same_network_as_one(small: Config, tmp_path: Path) -> None:
    configs = {
        "whole": even_batches(small),
        "labels": unequal_numbers_of_targets("state", tmp_path),
        "gaps": unequal_numbers_of_targets("level", tmp_path),
    }
    starts = {  # at the same time: they wait for each other more than they compute
        name: start(config.model_copy(update={"devices": 2}), tmp_path / "two" / name)
        for name, config in configs.items()
    }
    for name, two in starts.items():
        run.train(configs[name], tmp_path / "one" / name)
        output, _ = two.communicate(timeout=600)
        assert two.returncode == 0, output
        assert output.count("epoch 1/2") == 1
        ours, theirs = weights_of(tmp_path / "one" / name), weights_of(tmp_path / "two" / name)
        for key, weights in ours.items():
            torch.testing.assert_close(theirs[key], weights, atol=1e-4, rtol=0)
