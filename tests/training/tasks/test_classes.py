"""Tasks of classes: which outputs count, and scores by their definitions."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    recall_score,
    roc_auc_score,
)

from tests.training.synthetic import data_of
from training.data.dataset import Split, each_step
from training.export import random_network
from training.model import Network
from training.tasks import of
from training.tasks.classes import Classification, Labelling, Language, by_class, score_classes


@pytest.fixture(scope="module")
def network() -> Network:
    return random_network(cell="lstm", features=1, hidden=2, layers=1, classes=3, seed=0)[0]


@given(st.integers(1, 40), st.integers(2, 5), st.integers(0, 99))
def test_scores_are_those_of_scikit_learn(count: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((count, classes)).astype(np.float32)
    targets = rng.integers(0, classes, count)
    scores = score_classes(logits, targets)
    labels = list(range(classes))
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    predicted = logits.argmax(axis=1)
    assert scores.confusion is not None
    assert scores.confusion.tolist() == confusion_matrix(targets, predicted, labels=labels).tolist()
    assert scores.metrics == {
        "accuracy": pytest.approx(accuracy_score(targets, predicted)),
        "macro_f1": pytest.approx(
            f1_score(targets, predicted, labels=labels, average="macro", zero_division=0)
        ),
        "balanced_accuracy": pytest.approx(
            recall_score(targets, predicted, labels=np.unique(targets), average="macro")
        ),
        "loss": pytest.approx(log_loss(targets, p, labels=labels), rel=1e-5),
    }
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, predicted, labels=labels, zero_division=0
    )
    rows = by_class(scores.confusion, tuple(map(str, labels)))
    assert [row.label for row in rows] == [str(label) for label in labels]
    for name, expected in (("precision", precision), ("recall", recall), ("f1", f1), ("true", support)):
        np.testing.assert_allclose([getattr(row, name) for row in rows], expected)


@given(st.integers(2, 40), st.integers(2, 4), st.integers(0, 99))
def test_areas_under_curves_are_those_of_scikit_learn_for_the_classes_that_occur(
    network: Network, count: int, classes: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((count, classes)).astype(np.float32)
    targets = rng.integers(0, classes, count)
    metrics = Classification().score(network, logits, targets).metrics
    assert 0 <= metrics["ece"] <= 1
    present = np.unique(targets)
    if len(present) == 1:
        assert not {"auc", "pr_auc"} & metrics.keys()
        return
    p = torch.from_numpy(logits).softmax(-1).numpy()
    ranked = present if classes > 2 else [np.bincount(targets, minlength=2).argmin()]
    assert metrics["auc"] == pytest.approx(
        np.mean([roc_auc_score(targets == one, p[:, one]) for one in ranked])
    )
    assert metrics["pr_auc"] == pytest.approx(
        np.mean([average_precision_score(targets == one, p[:, one]) for one in ranked])
    )


def test_balanced_classes_weigh_alike_in_the_loss(network: Network) -> None:
    data = data_of("label")
    steps = each_step([np.array([0, 0, 0, 1, -1])])
    data = replace(data, train=Split((np.zeros((5, 2), np.float32),), steps))
    task = Labelling(balance=True)
    task.prepare(network, data)
    wrong = torch.tensor([[0.0, 9], [9, 0]])
    rare, usual = (float(task.loss(network, wrong[[row]], torch.tensor([row]))) for row in (1, 0))
    assert rare / usual == pytest.approx(3)
    plain = float(Labelling().loss(network, wrong[[0]], torch.tensor([0])))
    assert (3 * usual + rare) / 4 == pytest.approx(plain), "1 on average"


def test_label_smoothing_mixes_the_target_with_all_classes(network: Network) -> None:
    outputs, targets = torch.tensor([[2.0, 0, 1]]), torch.tensor([0])
    plain = [float(Classification().loss(network, outputs, torch.tensor([one]))) for one in range(3)]
    smoothed = float(Classification(smoothing=0.3).loss(network, outputs, targets))
    assert smoothed == pytest.approx(0.7 * plain[0] + 0.3 * np.mean(plain))


def test_large_logits_do_not_overflow() -> None:
    scores = score_classes(np.array([[1000, -1000]], np.float32), np.array([0]))
    assert scores.metrics["loss"] == 0


def test_a_sequence_is_classified_at_its_last_true_step() -> None:
    y = torch.arange(12.0).reshape(2, 3, 2)
    outputs, targets = Classification().pick(y, torch.tensor([1, 3]), torch.tensor([5, 6]))
    assert outputs.tolist() == [[0, 1], [10, 11]]
    assert targets.tolist() == [5, 6]


def test_only_labelled_steps_count() -> None:
    y = torch.arange(12.0).reshape(2, 3, 2)
    outputs, targets = Labelling().pick(y, torch.tensor([3, 2]), torch.tensor([[0, -1, 1], [-1, 1, -1]]))
    assert outputs.tolist() == [[0, 1], [4, 5], [8, 9]]
    assert targets.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "task", [Classification(), Labelling(), Language()], ids=lambda task: type(task).__name__
)
def test_loss_and_metric_agree_with_the_scores(task: Classification, network: Network) -> None:
    outputs = torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 0, 3], [1, 0, 0]])
    targets = torch.tensor([0, 2, 2, 1])
    scores = task.score(network, outputs.numpy(), targets.numpy()).metrics
    assert scores["loss"] == pytest.approx(float(task.loss(network, outputs, targets)))
    assert scores[task.metric] == pytest.approx(float(task.measure(outputs, targets)))
    assert set(task.headline) <= set(scores)


def test_a_language_is_scored_in_bits_and_has_no_confusion(network: Network) -> None:
    outputs = np.log(np.array([[0.5, 0.25, 0.25]], np.float32))
    scores = Language().score(network, outputs, np.array([0]))
    assert scores.metrics["bits"] == pytest.approx(1)
    assert scores.metrics["loss"] == pytest.approx(math.log(2))
    assert scores.confusion is None


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (Classification(), "test accuracy 97.03%"),
        (Labelling(), "test accuracy 97.03%"),
        (Language(), "test 2.217 bits per token"),
    ],
    ids=["classify", "label", "language"],
)
def test_a_run_is_summarised_in_one_line(task: Classification, text: str) -> None:
    assert task.summary({"test_accuracy": 0.97027, "test_bits": 2.2172}) == text


def test_a_data_set_has_the_task_that_it_names() -> None:
    assert type(of(data_of("classify"))) is Classification
    assert type(of(data_of("label"))) is Labelling
    assert type(of(data_of("language"))) is Language
