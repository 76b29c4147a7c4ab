"""Tasks that predict one of several classes: of a sequence, of a step, or the next token."""

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.model import Network, last_step
from training.tasks.task import Floats, Scores, Task


class Classification(Task):
    """The class of a sequence, predicted at its last true step; cross-entropy."""

    metric = "accuracy"
    headline = ("accuracy", "loss")

    def pick(self, y: Tensor, lengths: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """See `Task.pick`."""
        return last_step(y, lengths), targets

    def loss(self, network: Network, outputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002
        """See `Task.loss`."""
        return functional.cross_entropy(outputs, targets)

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Accuracy."""
        return (outputs.argmax(-1) == targets).float().mean()

    def score(self, network: Network, outputs: Floats, targets: NDArray[np.generic]) -> Scores:  # noqa: ARG002
        """Cross-entropy, accuracy, macro F1 and confusion."""
        return score_classes(outputs, targets.astype(np.int64))

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

    def score(self, network: Network, outputs: Floats, targets: NDArray[np.generic]) -> Scores:
        """The same, and bits per token; no confusion of so many classes."""
        metrics = super().score(network, outputs, targets).metrics
        return Scores({**metrics, "bits": metrics["loss"] / math.log(2)})

    def summary(self, metrics: dict[str, float]) -> str:
        """See `Task.summary`."""
        return f"test {metrics['test_bits']:.3f} bits per token"


def score_classes(logits: Floats, targets: NDArray[np.int64]) -> Scores:
    """Cross-entropy, accuracy, macro F1 and confusion of `logits` [answers, classes]."""
    classes = logits.shape[1]
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    predicted = logits.argmax(axis=1)
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (targets, predicted), 1)
    hits, either = confusion.diagonal(), confusion.sum(axis=0) + confusion.sum(axis=1)
    metrics = {
        "accuracy": float((predicted == targets).mean()),
        "macro_f1": float(np.mean(2 * hits / np.maximum(either, 1))),
        "loss": float(-log_p[np.arange(len(targets)), targets].mean()),
    }
    return Scores(metrics, confusion)
