"""Compares the gates that a graph shows with those of the PyTorch network, on the sequence of its example.

PyTorch in float64 is the truth. How far a correct graph may be from it is said by PyTorch in float32, as in
`parity`.
"""

import copy
from collections.abc import Sequence as Several

import numpy as np
import onnxruntime as ort
import torch

from training.cells.cell import Gates, Inside
from training.data.dataset import Sequence
from training.export.network import LENGTHS, feeds, gates_output
from training.export.parity import FACTORS, RESOLUTION, Floats, ParityError
from training.model import Network

ENDINGS = {"forward": "_ahead", "backward": "_back"}  # of names in a trace of both directions


def check_gates(
    graph: bytes, network: Network, gates: Several[Gates], sequence: Sequence, *, slack: float = 1.0
) -> float:
    """The largest difference from float64, of a sequence [time, columns]. Raises ParityError.

    `slack` multiplies the limit.
    """
    served = shown_gates(graph, network, gates, sequence)
    own, truth = (traced_gates(one, gates, sequence) for one in (network, copy.deepcopy(network).double()))
    worst = 0.0
    for name, values in truth.items():
        limit = slack * FACTORS[1] * max(float(np.abs(own[name] - values).max()), RESOLUTION)
        difference = float(np.abs(served[name] - values).max())
        if not difference <= limit:  # NaN is bad too
            raise ParityError(
                f"{name} of ONNX Runtime and PyTorch differ by {difference:.2g}, where float32 explains "
                f"{limit:.2g}; nothing was exported"
            )
        worst = max(worst, difference)
    return worst


def shown_gates(
    graph: bytes, network: Network, gates: Several[Gates], sequence: Sequence
) -> dict[str, Floats]:
    """The outputs of the graph that are gates, by name, each [time, gates · units], from zeros."""
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [gates_output(each) for each in gates]
    states = zip(network.states, network.initial_state(1), strict=True)
    inputs = {**feeds(network, sequence[None]), LENGTHS: np.array([len(sequence)], np.int32)}
    results = session.run(names, inputs | {name: state.numpy() for name, state in states})
    return {name: result[0] for name, result in zip(names, results, strict=True)}


@torch.no_grad()
def traced_gates(network: Network, gates: Several[Gates], sequence: Sequence) -> dict[str, Floats]:
    """The same from PyTorch, in the dtype of the network."""
    x = torch.from_numpy(sequence)[None].to(network.head.weight.dtype)
    start = network.initial_state(1)[: len(network.input_layer.states)]
    encoded = network.input_layer(x, torch.tensor([len(sequence)]), start)
    layers, _ = network.cell.trace_layers(encoded.channels[0])
    return {gates_output(each): _side_by_side(layers[each.layer], each) for each in gates}


def _side_by_side(inside: Inside, gates: Gates) -> Floats:
    """[time, gates · units]"""
    ending = "" if gates.names[0] in inside else ENDINGS[gates.direction]
    return torch.cat([inside[f"{name}{ending}"] for name in gates.names], dim=1).numpy()
