"""Labels that are independent of each other: loss and scores by their definitions, where a label is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as judge

from tests.training.synthetic import data_of
from tests.training.test_inputs import network_for
from training.config import Recipe
from training.data.dataset import DataSet, Split, each_step
from training.model import Network
from training.skill import compare
from training.tasks import of
from training.tasks.labels import MultiLabel, log_loss, sigmoid

NAMES = ("fog", "rain", "wind")


@pytest.fixture(scope="module")
def network() -> Network:
    return network_for(data_of("multilabel"))


def labelled(*rows: list[float]) -> DataSet:
    """A step with labels for each row."""
    split = Split((np.zeros((len(rows), 2), np.float32),), each_step([np.array(rows, np.float32)]))
    return replace(data_of("multilabel"), train=split, test=split)


@given(st.integers(3, 40), st.integers(0, 99))
@settings(max_examples=20)
def test_scores_are_those_of_scikit_learn(network: Network, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (count, 3)).astype(np.float32)
    truth[0], truth[1] = 0, 1  # each label occurs, and does not
    outputs = rng.standard_normal((count, 3)).astype(np.float32)
    scores = of(data_of("multilabel")).score(network, outputs, truth)
    p = sigmoid(outputs)
    said, is_true = p >= 0.5, truth > 0
    expected = {
        "micro_f1": judge.f1_score(is_true, said, average="micro"),
        "macro_f1": judge.f1_score(is_true, said, average="macro", zero_division=0),
        "subset_accuracy": judge.accuracy_score(is_true, said),
        "hamming_loss": judge.hamming_loss(is_true, said),
        "auc": judge.roc_auc_score(is_true, p),
        "pr_auc": judge.average_precision_score(is_true, p),
        "loss": judge.log_loss(is_true.ravel(), p.ravel(), labels=[False, True]),
    }
    assert {name: scores.metrics[name] for name in expected} == pytest.approx(expected)
    recalls = judge.recall_score(is_true, said, average=None, zero_division=0)
    precisions = judge.precision_score(is_true, said, average=None, zero_division=0)
    assert [row.recall for row in scores.labels] == pytest.approx(recalls)
    assert [row.precision for row in scores.labels] == pytest.approx(precisions)
    assert [row.true for row in scores.labels] == is_true.sum(axis=0).tolist()


def test_unknown_labels_do_not_count(network: Network) -> None:
    truth = torch.tensor([[1.0, math.nan, 0], [math.nan] * 3, [0.0, 0, 0]])
    task = of(data_of("multilabel"))
    outputs, known = task.pick(torch.ones(1, 3, 3), torch.tensor([3]), truth[None])
    assert known.shape == (2, 3), "the step without a known label is left out"
    assert float(task.measure(outputs, known)) == pytest.approx(4 / 5)
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    assert float(task.loss(network, outputs, known)) == pytest.approx((right + 4 * wrong) / 5)
    scores = task.score(network, outputs.numpy(), known.numpy())
    assert scores.metrics["loss"] == pytest.approx((right + 4 * wrong) / 5)
    assert scores.metrics["hamming_loss"] == pytest.approx(4 / 5)
    assert scores.metrics["subset_accuracy"] == 0, "of the steps whose labels are all known"
    assert scores.metrics["macro_f1"] == pytest.approx(2 / 3), "fog alone occurs"
    assert math.isnan(scores.labels[1].auc)
    assert [row.true for row in scores.labels] == [1, 0, 0]


def test_scores_use_the_thresholds_of_the_network() -> None:
    network = network_for(data_of("multilabel"))
    task, outputs = of(data_of("multilabel")), np.zeros((4, 3), np.float32)
    truth = np.ones((4, 3), np.float32)
    assert task.score(network, outputs, truth).metrics["micro_f1"] == 1, "0.5 reaches 0.5"
    assert network.thresholds is not None
    network.thresholds[:] = torch.tensor([0.6, 0.5, 0.5])
    assert task.score(network, outputs, truth).metrics["hamming_loss"] == pytest.approx(1 / 3)
    network.clear_calibration()
    assert network.thresholds.tolist() == [0.5] * 3


def test_true_and_false_weigh_alike_with_balance_and_targets_are_smoothed() -> None:
    data = labelled([1.0, 0, 1], *[[0.0, 1, math.nan]] * 9)
    network, outputs = network_for(data), torch.tensor([[0.3, -0.2, 1.0]])
    target = torch.tensor([[1.0, 0.0, 1.0]])
    plain, balanced = MultiLabel(NAMES, is_whole=False), MultiLabel(NAMES, is_whole=False, balance=True)
    plain.prepare(network, data)
    frequencies = [2 / 12, 10 / 12, 2 / 3]
    assert sigmoid(network.head.bias.detach().numpy()) == pytest.approx(frequencies)
    balanced.prepare(network, data)
    assert network.head.bias.tolist() == [0, 0, 0]
    losses = -torch.nn.functional.logsigmoid(torch.tensor([0.3, 0.2, 1.0]))
    weights = torch.tensor([0.5 / (2 / 12), 0.5 / (2 / 12), 0.5 / (2 / 3)])
    assert float(balanced.loss(network, outputs, target)) == pytest.approx(float((losses * weights).mean()))
    smooth = MultiLabel(NAMES, is_whole=False, smoothing=0.2)
    p = outputs.sigmoid()
    by_hand = -(0.9 * torch.where(target > 0, p, 1 - p).log() + 0.1 * torch.where(target > 0, 1 - p, p).log())
    assert float(smooth.loss(network, outputs, target)) == pytest.approx(float(by_hand.mean()))
    recipe = Recipe(balance=True, label_smoothing=0.2)
    assert isinstance(of(data, recipe), MultiLabel)


def test_whole_sequences_are_predicted_at_their_last_true_step() -> None:
    y = torch.arange(12.0).reshape(2, 3, 2)
    task = MultiLabel(NAMES[:2], is_whole=True)
    outputs, _ = task.pick(y, torch.tensor([1, 3]), torch.tensor([[0.0, 1], [1, math.nan]]))
    assert outputs.tolist() == [[0, 1], [10, 11]]


def test_the_skill_compares_with_answers_that_are_the_same_everywhere() -> None:
    data = labelled(*[[0.0, 1, 0]] * 7, *[[1.0, 1, 0]] * 3)
    compared = compare(data, data.test, {"loss": 0.1, "hamming_loss": 0.1, "macro_f1": 0.9})
    by_key = {row.key: row for row in compared.rows}
    truth = np.concatenate(data.test.targets).astype(float)
    frequencies = np.broadcast_to(np.array([4, 11, 1]) / 12, truth.shape)
    assert by_key["loss"].theirs == pytest.approx(log_loss(frequencies, truth))
    assert by_key["hamming_loss"].theirs == pytest.approx(3 / 30)
    assert by_key["hamming_loss"].skill == 0 and not by_key["hamming_loss"].is_better
    every = (2 * 3 / 13 + 1) / 2
    assert by_key["macro_f1"].baseline == "every label"
    assert by_key["macro_f1"].theirs == pytest.approx(every)
    assert compared.baselines["majority_of_each_label_macro_f1"] == pytest.approx(0.5)
    assert compared.notes == ["no sequence or step of this part has 'wind'"]
    assert compared.verdict().startswith("NOT better than majority of each label in 1 of 3 comparisons")
