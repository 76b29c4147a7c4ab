"""Chooses the example of a manifest: a real sequence and the network's answer to it."""

from typing import Any

import numpy as np
import torch

from service.manifest import Example
from training.data.dataset import DataSet, Input, Sequence
from training.evaluate import predict
from training.export.network import feeds
from training.model import Network, softmax
from training.tasks import of

CONFIDENT = 0.99
TOLERANCE = 1e-4  # of the largest number of the answer, where that is above 1: a forecast has units
EXAMPLE_STEPS = 20  # long enough to be cut into pieces, short enough to be read


def example(network: Network, data: DataSet) -> Example:
    """A test sequence and what the network says at its last step; where every step counts, a beginning.

    `str` of a float32 is its shortest text, and reads back as the same float32.
    """
    sequence = example_sequence(network, data)
    said = _answer(network, sequence)
    return Example(
        steps=steps_of(network, sequence),
        output=[float(str(value)) for value in said],
        label=None if data.forecast else data.labels[int(said.argmax())],
        tolerance=float(f"{TOLERANCE * max(1.0, float(np.abs(said).max())):.3g}"),
    )


def example_sequence(network: Network, data: DataSet) -> Sequence:
    """The sequence of the example, [time, columns]."""
    if data.task == "classify":
        return data.test.sequences[_row(network, data)]
    return data.test.sequences[0][:EXAMPLE_STEPS]


def steps_of(network: Network, sequence: Sequence) -> list[Any] | dict[str, list[Any]]:
    """A sequence [time, columns] as `/predict` takes it: nulls where numbers are missing."""
    named = {
        given.name: _plain(given, values)
        for given, values in zip(network.front.inputs, feeds(network, sequence).values(), strict=True)
    }
    return named if len(named) > 1 else next(iter(named.values()))


def _plain(given: Input, values: Any) -> list[Any]:
    if given.kind == "token":
        plain: list[Any] = values.tolist()
        return plain
    if values.ndim > 1:
        return [_plain(given, step) for step in values]
    return [None if np.isnan(value) else float(str(value)) for value in values]


@torch.inference_mode()
def _answer(network: Network, sequence: Sequence) -> Any:
    """What the graph will say at the last step."""
    x, lengths = torch.from_numpy(sequence)[None], torch.tensor([len(sequence)])
    said, _ = network(x.to(network.device), lengths, network.initial_state(1))
    last = said[0, -1].cpu()
    return (last if network.tail else last.softmax(-1)).numpy()


def _row(network: Network, data: DataSet) -> int:
    """One that it gets right with confidence; where there is none, the one it is surest of.

    Of several the one whose length is nearest to EXAMPLE_STEPS, and of those the one it is surest of.
    """
    probabilities = softmax(predict(network, data.test, of(data)).said)  # [sequences, classes]
    surest, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == data.test.targets
    away = np.abs(np.array([len(sequence) for sequence in data.test.sequences]) - EXAMPLE_STEPS)
    away[~(is_right & (surest >= CONFIDENT))] = away.max() + 1
    return int(np.lexsort((-surest * is_right, away))[0])
