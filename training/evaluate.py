"""Outputs of a network on a split, and their scores. Knows nothing of files or training."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from training.batches import in_order
from training.data.dataset import DataSet, Sequence, Split
from training.model import Network
from training.tasks import Scores, Task, of

Floats = NDArray[np.float32]


class Answers(NamedTuple):
    """The outputs that count, their targets, and the final state of each sequence."""

    outputs: Floats  # [answers, out]: for classes logits
    targets: NDArray[Any]  # [answers, …]
    state: tuple[Floats, ...]  # each [layers, sequences, width]


@torch.inference_mode()
def predict(network: Network, split: Split, task: Task, *, batch_size: int = 256) -> Answers:
    """The outputs of a network on a split, in the order of the split."""
    outputs, truth, states = [], [], []
    was_training = network.training
    network.eval()
    for x, lengths, targets in in_order(split, batch_size=batch_size):
        y, state = network(x.to(network.device), lengths, network.initial_state(len(lengths)))
        picked, known = task.pick(y.cpu(), lengths, targets)
        outputs.append(picked)
        truth.append(known)
        states.append([part.cpu() for part in state])
    network.train(was_training)
    joined = tuple(torch.cat(parts, dim=1).numpy() for parts in zip(*states, strict=True))
    return Answers(torch.cat(outputs).numpy(), torch.cat(truth).numpy(), joined)


@torch.inference_mode()
def outputs_of(network: Network, sequence: Sequence) -> Floats:
    """The outputs of a network at every step of a sequence: [time, out]."""
    was_training = network.training
    network.eval()
    x, lengths = torch.from_numpy(sequence)[None], torch.tensor([len(sequence)])
    y, _ = network(x.to(network.device), lengths, network.initial_state(1))
    network.train(was_training)
    outputs: Floats = y[0].cpu().numpy()
    return outputs


def evaluate(network: Network, data: DataSet, split: Split) -> Scores:
    """The scores of a network on a split of its data set."""
    task = of(data)
    answers = predict(network, split, task)
    return task.score(network, answers.outputs, answers.targets)
