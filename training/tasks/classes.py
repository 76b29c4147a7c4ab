"""Tasks that predict one of several classes: of a sequence, of a step, or the next token."""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.data.dataset import DataSet
from training.model import Network, last_step
from training.tasks.calibration import reliability
from training.tasks.task import Floats, Scores, Task

Logits = NDArray[np.floating]

MOST_RANKED = 100  # classes; areas under curves of more take too long and say little


class ByClass(NamedTuple):
    """The scores of one class."""

    label: str
    true: int  # answers that are of this class
    correct: int
    recall: float  # share of the true answers that were found; 0 if there are none
    precision: float  # share of the predictions of this class that were correct; 0 if there are none
    f1: float


class Classification(Task):
    """The class of a sequence, predicted at its last true step; cross-entropy."""

    metric = "accuracy"
    headline: tuple[str, ...] = ("accuracy", "loss")

    def __init__(self, *, balance: bool = False, smoothing: float = 0.0) -> None:
        """`balance`: all classes weigh alike in the loss. `smoothing`: share of a uniform target."""
        self._balance, self._smoothing = balance, smoothing
        self._weights: Tensor | None = None

    def prepare(self, network: Network, data: DataSet) -> None:  # noqa: ARG002
        """Compute the weights of the classes: inverse to their frequency, and 1 on average."""
        if not self._balance:
            return
        targets = data.train.targets
        known = np.concatenate(targets) if targets.dtype == object else targets
        counts = np.bincount(known[known >= 0].astype(np.int64), minlength=len(data.labels))
        present = max(1, int((counts > 0).sum()))
        self._weights = torch.tensor(counts.sum() / (present * np.maximum(counts, 1)), dtype=torch.float32)

    def pick(self, y: Tensor, lengths: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """See `Task.pick`."""
        return last_step(y, lengths), targets

    def loss(self, network: Network, outputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        """See `Task.loss`."""
        if self._weights is None:
            return functional.cross_entropy(outputs, targets, label_smoothing=self._smoothing)
        losses = functional.cross_entropy(outputs, targets, label_smoothing=self._smoothing, reduction="none")
        return (losses * self._weights.to(outputs.device)[targets]).mean()

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Accuracy."""
        return (outputs.argmax(-1) == targets).float().mean()

    def score(self, network: Network, outputs: Floats, targets: NDArray[np.generic]) -> Scores:  # noqa: ARG002
        """Cross-entropy, accuracy, macro F1, calibration, areas under curves, and confusion."""
        known = targets.astype(np.int64)
        scores = score_classes(outputs, known)
        p = probabilities(outputs)
        more = {"ece": reliability(p, known).error, **_areas(p, known)}
        return Scores({**scores.metrics, **more}, scores.confusion)

    def summary(self, metrics: dict[str, float]) -> str:
        """See `Task.summary`."""
        return f"test accuracy {metrics['test_accuracy']:.2%}"


class Labelling(Classification):
    """The class of every step whose class is known."""

    def pick(self, y: Tensor, lengths: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """See `Task.pick`."""
        is_known = targets >= 0
        return y[is_known], targets[is_known]


class Language(Labelling):
    """The next token, at every step."""

    headline = ("bits", "accuracy")

    def score(self, network: Network, outputs: Floats, targets: NDArray[np.generic]) -> Scores:  # noqa: ARG002
        """Cross-entropy, accuracy, macro F1, bits per token; no confusion of so many classes."""
        metrics = score_classes(outputs, targets.astype(np.int64)).metrics
        return Scores({**metrics, "bits": metrics["loss"] / math.log(2)})

    def summary(self, metrics: dict[str, float]) -> str:
        """See `Task.summary`."""
        return f"test {metrics['test_bits']:.3f} bits per token"


def score_classes(logits: Floats, targets: NDArray[np.int64]) -> Scores:
    """Cross-entropy, accuracy, macro F1 and confusion of `logits` [answers, classes]."""
    classes = logits.shape[1]
    log_p = log_probabilities(logits)
    predicted = logits.argmax(axis=1)
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (targets, predicted), 1)
    hits, either = confusion.diagonal(), confusion.sum(axis=0) + confusion.sum(axis=1)
    metrics = {
        "accuracy": float((predicted == targets).mean()),
        "macro_f1": float(np.mean(2 * hits / np.maximum(either, 1))),
        "balanced_accuracy": _balanced_accuracy(confusion),
        "loss": float(-log_p[np.arange(len(targets)), targets].mean()),
    }
    return Scores(metrics, confusion)


def by_class(confusion: NDArray[np.int64], labels: tuple[str, ...]) -> list[ByClass]:
    """The scores of each class, from `confusion[true, predicted]`."""
    hits, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        ByClass(
            label,
            int(true[row]),
            int(hits[row]),
            recall=float(hits[row] / max(true[row], 1)),
            precision=float(hits[row] / max(predicted[row], 1)),
            f1=float(2 * hits[row] / max(true[row] + predicted[row], 1)),
        )
        for row, label in enumerate(labels)
    ]


def _balanced_accuracy(confusion: NDArray[np.int64]) -> float:
    """The mean recall of the classes that occur."""
    counts = confusion.sum(axis=1)
    return float((confusion.diagonal()[counts > 0] / counts[counts > 0]).mean())


def _areas(p: NDArray[np.float64], targets: NDArray[np.int64]) -> dict[str, float]:
    """Areas under the ROC curve and the precision-recall curve (average precision).

    Each class against the others; the mean of the classes that occur. Of two classes the rarer one is the
    positive one, alone. Empty if only one class occurs.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    present, counts = np.unique(targets, return_counts=True)
    if not 2 <= len(present) <= MOST_RANKED:
        return {}
    ranked = present[[counts.argmin()]] if p.shape[1] == 2 else present
    scores = {"auc": roc_auc_score, "pr_auc": average_precision_score}
    return {
        name: float(np.mean([score(targets == one, p[:, one]) for one in ranked]))
        for name, score in scores.items()
    }


def probabilities(logits: Logits) -> NDArray[np.float64]:
    """The softmax over the last axis of `logits` [answers, classes], in float64."""
    return np.exp(log_probabilities(logits))


def log_probabilities(logits: Logits) -> NDArray[np.float64]:
    """The logarithm of the softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_p: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_p
