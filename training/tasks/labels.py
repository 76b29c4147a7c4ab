"""Labels that are true or not independently of each other, of a sequence or of every step."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.data.dataset import DataSet
from training.model import Network, last_step
from training.tasks.calibration import decision_reliability
from training.tasks.task import Floats, Scores, Task

Doubles = NDArray[np.float64]


class ByLabel(NamedTuple):
    """The scores of one label; areas are NaN where only one of true and false occurs."""

    label: str
    true: int  # answers that have this label
    correct: int  # of these, those for which it was predicted
    recall: float  # share of the true answers for which it was predicted; 0 if there are none
    precision: float  # share of its predictions that were correct; 0 if there are none
    f1: float
    auc: float  # area under the ROC curve
    pr_auc: float  # average precision


class MultiLabel(Task):
    """A sigmoid and a binary cross-entropy for each label: binary relevance with shared features.

    Networks learn labels better by cross-entropy than by ranking losses (Nam, Kim, Loza Mencía, Gurevych,
    Fürnkranz 2014, Large-scale Multi-label Text Classification: Revisiting Neural Networks). Targets are
    [answers, labels] of 0 and 1; an unknown label is NaN, and counts neither in the loss nor in a score.
    """

    metric = "hamming_loss"
    headline = ("micro_f1", "macro_f1", "subset_accuracy", "hamming_loss")

    def __init__(
        self, labels: tuple[str, ...], *, is_whole: bool, balance: bool = False, smoothing: float = 0.0
    ) -> None:
        """`is_whole`: the labels are those of a sequence, predicted at its last true step.

        `balance`: true and false weigh alike in the loss of each label. `smoothing`: share of a uniform
        target.
        """
        self._labels, self._is_whole = labels, is_whole
        self._balance, self._smoothing = balance, smoothing
        self._weights: Tensor | None = None  # [2, labels]: of false and of true

    def prepare(self, network: Network, data: DataSet) -> None:
        """Compute the weights, inverse to the frequencies and 1 on average; start with the frequencies.

        The bias of an untrained network is the logit of each label's frequency, so that the first epochs do
        not learn only that labels are rare (Lin, Goyal, Girshick, He, Dollár 2017, section 3.3).
        """
        targets = data.train.targets
        known = np.concatenate(targets) if not self._is_whole else targets
        true, counts = np.nansum(known, axis=0), (~np.isnan(known)).sum(axis=0)
        frequency = (true + 1) / (counts + 2)
        if self._balance:
            false_and_true = np.stack([1 - frequency, frequency])
            self._weights = torch.from_numpy(0.5 / false_and_true).float()
            frequency = np.full_like(frequency, 0.5)
        with torch.no_grad():
            network.head.bias.copy_(torch.from_numpy(np.log(frequency / (1 - frequency))))

    def pick(self, y: Tensor, lengths: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The last true step of each sequence, or every step, of which any label is known."""
        outputs = last_step(y, lengths) if self._is_whole else y
        is_known = ~targets.isnan().all(-1)
        return outputs[is_known], targets[is_known]

    def loss(self, network: Network, outputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        """See `Task.loss`."""
        is_known = ~targets.isnan()
        truth = targets.nan_to_num()
        smooth = truth * (1 - self._smoothing) + self._smoothing / 2
        losses = functional.binary_cross_entropy_with_logits(outputs, smooth, reduction="none")
        if self._weights is not None:
            weights = self._weights.to(outputs.device)
            losses = losses * torch.where(truth > 0, weights[1], weights[0])
        return losses[is_known].mean()

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The share of labels that are wrong, with a threshold of 0.5."""
        is_wrong = (outputs >= 0) != (targets > 0)
        return is_wrong[~targets.isnan()].float().mean()

    def score(self, network: Network, outputs: Floats, targets: NDArray[np.generic]) -> Scores:
        """Cross-entropy, F1, subset accuracy, Hamming loss, areas under curves, calibration; by label too.

        The thresholds are those of the network. Macro scores are means over the labels that occur.
        """
        truth, p = targets.astype(np.float64), sigmoid(outputs)
        predicted, is_known = p >= thresholds_of(network), ~np.isnan(truth)
        is_right = np.where(is_known, predicted == (truth > 0), True)
        rows = by_label(p, predicted, truth, self._labels)
        occurring = [row for row in rows if row.true]
        complete = is_known.all(axis=1)
        metrics = {
            "micro_f1": micro_f1(predicted, truth),
            "macro_f1": float(np.mean([row.f1 for row in occurring])) if occurring else 0.0,
            "hamming_loss": float((~is_right)[is_known].mean()),
            "loss": log_loss(p, truth),
            "ece": decision_reliability(p[is_known], truth[is_known]).error,
        }
        if complete.any():
            metrics["subset_accuracy"] = float(is_right[complete].all(axis=1).mean())
        for name in ("auc", "pr_auc"):
            areas = [getattr(row, name) for row in rows if not np.isnan(getattr(row, name))]
            if areas:
                metrics[name] = float(np.mean(areas))
        return Scores(metrics, labels=tuple(rows))

    def summary(self, metrics: dict[str, float]) -> str:
        """See `Task.summary`."""
        shown = {"micro F1": "micro_f1", "macro F1": "macro_f1", "Hamming loss": "hamming_loss"}
        return ", ".join(f"test {name} {metrics[f'test_{key}']:.4f}" for name, key in shown.items())


def thresholds_of(network: Network) -> Doubles:
    """[labels]: the probability from which on each label is predicted."""
    assert network.thresholds is not None
    thresholds: Doubles = network.thresholds.cpu().numpy()
    return thresholds


def by_label(
    p: Doubles, predicted: NDArray[np.bool_], truth: Doubles, labels: tuple[str, ...]
) -> list[ByLabel]:
    """The scores of each label, over the answers that are known; all [answers, labels]."""
    return [
        _one_label(label, p[is_known, column], predicted[is_known, column], truth[is_known, column] > 0)
        for column, (label, is_known) in enumerate(zip(labels, ~np.isnan(truth).T, strict=True))
    ]


def _one_label(label: str, p: Doubles, predicted: NDArray[np.bool_], is_true: NDArray[np.bool_]) -> ByLabel:
    from sklearn.metrics import average_precision_score, roc_auc_score

    true, said, hits = int(is_true.sum()), int(predicted.sum()), int((predicted & is_true).sum())
    has_both = 0 < true < len(is_true)
    return ByLabel(
        label,
        true,
        hits,
        recall=hits / max(true, 1),
        precision=hits / max(said, 1),
        f1=2 * hits / max(true + said, 1),
        auc=float(roc_auc_score(is_true, p)) if has_both else float("nan"),
        pr_auc=float(average_precision_score(is_true, p)) if has_both else float("nan"),
    )


def micro_f1(predicted: NDArray[np.bool_], truth: Doubles) -> float:
    """F1 over all labels together; an unknown one does not count."""
    said = predicted & ~np.isnan(truth)
    hits = int((said & (truth > 0)).sum())
    return 2 * hits / max(int(said.sum() + (truth > 0).sum()), 1)


def log_loss(p: Doubles, truth: Doubles) -> float:
    """The mean binary cross-entropy of the known labels."""
    is_known = ~np.isnan(truth)
    right = np.where(truth > 0, p, 1 - p)[is_known]
    return float(-np.log(np.maximum(right, np.finfo(np.float64).tiny)).mean())


def sigmoid(logits: NDArray[np.floating]) -> Doubles:
    """The probabilities of logits, in float64."""
    with np.errstate(over="ignore"):  # of a tiny probability
        p: Doubles = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return p
