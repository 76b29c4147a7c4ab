"""Several labels, from a table to an exported version: calibrated, by name, whatever the order."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import polars as pl
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from service.manifest import Manifest
from tests.training.synthetic import data_of
from tests.training.test_inputs import network_for
from training import run
from training.__main__ import main
from training.calibration import calibrate, fitted_threshold
from training.config import Config, Recipe
from training.evaluate import predict
from training.export.network import write_graph
from training.tasks import of
from training.tasks.labels import sigmoid

SMALL = ["--hidden", 32, "--accelerator", "cpu", "--id-column", "id"]


def call(*words: object) -> Result:
    done = CliRunner().invoke(main, [*map(str, words)], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each sequence has the labels of the signs of its numbers."""
    path, rng = tmp_path_factory.mktemp("labels") / "weather.csv", np.random.default_rng(0)
    centres = rng.choice([-1.0, 1.0], (60, 2))
    rows = [
        {"id": number, "a": a, "b": b, "wind": int(centre[0] > 0), "rain": int(centre[1] > 0),
         "tags": ";".join(name for name, one in zip(("wind", "rain"), centre, strict=True) if one > 0)}
        for number, centre in enumerate(centres)
        for a, b in (centre + rng.normal(0, 0.5, (6, 2))).round(3)
    ]  # fmt: skip
    pl.DataFrame(rows).write_csv(path)
    return path


@pytest.fixture(scope="module")
def trained(table: Path) -> tuple[Path, str]:
    """The folder of a run that is exported, and what the command printed."""
    folder = table.parent
    words = ["--data", table, "--target", "tags", "--separator", ";", "--ignore", "wind", "--ignore", "rain"]
    options = ["--thresholds", "f1", "--epochs", 4, "--learning-rate", 0.03]
    done = call("train", *words, *options, *SMALL, "--out", folder / "run", "--export", folder / "w" / "1")
    return folder, done.output


def test_a_run_prints_and_writes_what_it_has_learnt(trained: tuple[Path, str]) -> None:
    folder, printed = trained
    assert "labels of each sequence, with their frequency: rain" in printed
    assert "thresholds with the largest F1 on the validation part: rain" in printed
    assert "better than label frequencies" in printed.splitlines()[-1]
    page = (folder / "run" / "README.md").read_text()
    assert "| label | true | correct | recall | precision | F1 | AUC | average precision |" in page
    assert (folder / "run" / "reliability.png").is_file()
    metrics = run.read_metrics(folder / "run")
    assert {"test_micro_f1", "test_auc", "test_pr_auc", "test_skill_loss", "temperature"} <= metrics.keys()
    manifest = Manifest.read(folder / "w" / "1")
    output = manifest.outputs[0]
    assert (manifest.task, output.kind, output.labels) == ("multilabel", "labels", ("rain", "wind"))
    chosen = [metrics[f"threshold_{label}"] for label in output.labels]
    assert list(output.label_thresholds) == chosen
    assert manifest.metrics["threshold_rain"] == chosen[0]
    assert manifest.metrics["temperature"] == metrics["temperature"]
    assert manifest.table is not None and manifest.table.labels is not None
    assert (manifest.table.labels.of, manifest.table.labels.separator) == ("sequence", ";")


def test_evaluation_compression_and_another_start_work(trained: tuple[Path, str], table: Path) -> None:
    folder, _ = trained
    printed = call("evaluate", folder / "run", "--data", table).output
    assert "average precision" in printed and "micro_f1" in printed
    call("compress", folder / "run", "--quantize", "int8", "--to", folder / "w" / "2", "--max-drop", 0.5)
    small = Manifest.read(folder / "w" / "2")
    assert (small.outputs, small.task) == (Manifest.read(folder / "w" / "1").outputs, "multilabel")
    words = ["--data", table, "--target", "tags", "--separator", ";", "--ignore", "wind", "--ignore", "rain"]
    warm = call(
        "train", *words, *SMALL, "--epochs", 1, "--from", folder / "run", "--out", folder / "warm"
    ).output
    assert "started with the weights" in warm
    assert not any(name.startswith("threshold_") for name in run.read_metrics(folder / "warm"))
    kept = run.read(folder / "warm").network.thresholds
    assert kept is not None and kept.tolist() == [0.5, 0.5], (
        "those of the other run hold for its weights alone"
    )
    folds = call("train", *words, *SMALL, "--epochs", 1, "--folds", 2, "--out", folder / "folds").output
    assert "in 0 of 2 folds" in folds or "in 1 of 2 folds" in folds or "in 2 of 2 folds" in folds


def test_the_order_of_label_columns_changes_no_bit(table: Path) -> None:
    answers = []
    for number, targets in enumerate((("rain", "wind"), ("wind", "rain"))):
        words = [word for target in targets for word in ("--target", target)]
        folder = table.parent / f"order-{number}"
        words += ["--task", "multilabel", "--ignore", "tags", "--epochs", "1", "--out", str(folder)]
        call("train", "--data", table, *words, *SMALL)
        done = run.read(folder)
        answers.append((done.data.labels, predict(done.network, done.data.test, of(done.data)).outputs))
    assert answers[0][0] == answers[1][0]
    assert answers[0][1].tobytes() == answers[1][1].tobytes()


def test_thresholds_are_for_labels_alone(tmp_path: Path) -> None:
    config = Config(data="vowels", recipe=Recipe(thresholds="f1", epochs=1), accelerator="cpu")
    with pytest.raises(run.RunError, match="--thresholds: vowels has no independent labels"):
        run.train(config, tmp_path, loaded=data_of("label"))


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.2, 0.25, 0.5, 0.7, 1.0]), st.booleans()), min_size=2, max_size=12
    )
)
def test_no_threshold_has_a_larger_f1(answers: list[tuple[float, bool]]) -> None:
    p, is_true = np.array([one for one, _ in answers]), np.array([one for _, one in answers])
    found = fitted_threshold(p, is_true)

    def f1(threshold: float) -> float:
        hits = int(((p >= threshold) & is_true).sum())
        return 2 * hits / max(int((p >= threshold).sum() + is_true.sum()), 1)

    assert 0 < found <= 1
    if is_true.all() or not is_true.any():
        assert found == 0.5
    else:
        assert f1(found) == pytest.approx(max(f1(one) for one in (0.1, 0.22, 0.3, 0.6, 0.8, 0.5)))


def test_the_graph_has_the_calibrated_probabilities_of_rare_labels_too() -> None:
    """ONNX Runtime's Sigmoid is off by 1.6e-7: more than a probability of 1e-8 itself."""
    data = data_of("multilabel")
    network = network_for(data)
    network.head.weight.data.mul_(40)
    found = calibrate(network, data, data.test, Recipe())
    assert found.temperature > 1, "the targets are random, and the logits large"
    network.head.bias.data[0] = -20
    session = ort.InferenceSession(
        write_graph(network).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    sequence = data.test.sequences[0]
    feeds: dict[str, Any] = {"x": sequence[None], "lengths": np.array([len(sequence)], np.int32)}
    for name, (layers, width) in network.states.items():
        feeds[name] = np.zeros((layers, 1, width), np.float32)
    y, logits = session.run(["y", "logits"], feeds)
    np.testing.assert_allclose(y, sigmoid(logits), rtol=1e-6)
    assert 0 < y[..., 0].max() < 1e-7


def test_a_network_of_classes_has_the_graph_that_it_had() -> None:
    nodes = [node.op_type for node in write_graph(network_for(data_of("label"))).graph.node]
    assert nodes[-1] == "Softmax" and "Exp" not in nodes[-3:]
    assert "thresholds" not in json.dumps(list(network_for(data_of("label")).state_dict()))
