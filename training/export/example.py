"""Chooses the example of a manifest: a real sequence and the network's output for it."""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from service.manifest import Example
from training.data.dataset import DataSet, Input, Sequence
from training.evaluate import predict
from training.export.network import feeds
from training.model import Network, softmax
from training.tasks import of

CONFIDENT = 0.99
TOLERANCE = 1e-4  # of a probability; of a forecast, which has units, relative to its largest number
ROUNDINGS = 16  # or so many times the rounding of float32 in this network, if that is more
EXAMPLE_STEPS = 20  # long enough to be cut into pieces, short enough to be read


def example(network: Network, data: DataSet) -> Example:
    """A test sequence, or the beginning of one where every step counts, with the output at its last step.

    `str` of a float32 is its shortest text, and parses to the same float32.
    """
    sequence = example_sequence(network, data)
    output = _last_output(network, sequence)
    rounding = np.abs(output - _last_output(copy.deepcopy(network).double(), sequence)).max()
    return Example(
        steps=steps_of(network, sequence),
        output=[float(str(value)) for value in output],
        label=data.labels[int(output.argmax())] if data.has_classes else None,
        tolerance=float(f"{max(TOLERANCE * scale_of(output, data), ROUNDINGS * rounding):.3g}"),
    )


def scale_of(output: NDArray[np.floating], data: DataSet) -> float:
    """What a tolerance is relative to: 1 for probabilities, else the largest number."""
    return (float(np.abs(output).max()) or 1.0) if data.has_units else 1.0


def example_sequence(network: Network, data: DataSet) -> Sequence:
    """The sequence of the example, [time, columns]."""
    if data.task == "classify":
        return data.test.sequences[_best_row(network, data)]
    return data.test.sequences[0][:EXAMPLE_STEPS]


def steps_of(network: Network, sequence: Sequence) -> list[Any] | dict[str, list[Any]]:
    """A sequence [time, columns] in the form of a `/predict` request: null for a missing number."""
    by_name = {
        input_.name: _plain(input_, values)
        for input_, values in zip(network.input_layer.inputs, feeds(network, sequence).values(), strict=True)
    }
    return by_name if len(by_name) > 1 else next(iter(by_name.values()))


def _plain(input_: Input, values: Any) -> Any:
    if input_.kind == "token":
        if values.ndim == 0:
            return _plain(input_, values[None])[0]
        ids: list[Any] = values.tolist()
        return ids if input_.numbers == "ids" else [input_.vocabulary[number] for number in ids]
    if values.ndim > 1:
        return [_plain(input_, step) for step in values]
    return [None if np.isnan(value) else float(str(value)) for value in values]


@torch.inference_mode()
def _last_output(network: Network, sequence: Sequence) -> Any:
    """The graph's output `y` at the last step."""
    x, lengths = torch.from_numpy(sequence)[None], torch.tensor([len(sequence)])
    x = x.to(network.device, network.head.weight.dtype)
    y, _ = network(x, lengths, network.initial_state(1))
    last = y[0, -1].cpu()
    return (last if network.quantiles else network.probabilities(last)).numpy()


def _best_row(network: Network, data: DataSet) -> int:
    """The test sequence with a correct, confident prediction whose length is nearest to EXAMPLE_STEPS.

    Ties are broken by confidence. If no sequence qualifies: the most confident correct one.
    """
    probabilities = softmax(predict(network, data.test, of(data)).outputs)  # [sequences, classes]
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == data.test.targets
    distance = np.abs(np.array([len(sequence) for sequence in data.test.sequences]) - EXAMPLE_STEPS)
    distance[~(is_right & (confidence >= CONFIDENT))] = distance.max() + 1
    return int(np.lexsort((-confidence * is_right, distance))[0])
