"""Answers of a network on a split, and how good they are. Knows nothing of files or training."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from training.batches import in_order
from training.data.dataset import Split
from training.model import Network, last_step

Floats = NDArray[np.float32]


class Answers(NamedTuple):
    """What a network says at the last step of each sequence, and the memory it ends with."""

    logits: Floats  # [sequences, out]
    state: tuple[Floats, ...]  # each [layers, sequences, hidden]


@dataclass(frozen=True)
class Scores:
    """How good the answers are; `confusion[true, predicted]` counts sequences."""

    loss: float
    accuracy: float
    macro_f1: float
    confusion: NDArray[np.int64]


@torch.inference_mode()
def predict(network: Network, split: Split, *, batch_size: int = 256) -> Answers:
    """The network's answers on a split, in its order."""
    device = network.shift.device
    logits, states = [], []
    was_training = network.training
    network.eval()
    for x, lengths, _ in in_order(split, batch_size=batch_size):
        y, state = network(x.to(device), lengths, network.initial_state(len(lengths)))
        logits.append(last_step(y, lengths).cpu())
        states.append([part.cpu() for part in state])
    network.train(was_training)
    joined = tuple(torch.cat(parts, dim=1).numpy() for parts in zip(*states, strict=True))
    return Answers(torch.cat(logits).numpy(), joined)


def score(logits: Floats, targets: NDArray[np.int64]) -> Scores:
    """Cross-entropy, accuracy and confusion of `logits` [sequences, classes]."""
    classes = logits.shape[1]
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    predicted = logits.argmax(axis=1)
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (targets, predicted), 1)
    hits, either = confusion.diagonal(), confusion.sum(axis=0) + confusion.sum(axis=1)
    return Scores(
        loss=float(-log_p[np.arange(len(targets)), targets].mean()),
        accuracy=float((predicted == targets).mean()),
        macro_f1=float(np.mean(2 * hits / np.maximum(either, 1))),
        confusion=confusion,
    )
