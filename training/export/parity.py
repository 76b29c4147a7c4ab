"""Compares an ONNX graph with the PyTorch network that it was written from, on real sequences."""

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from training.batches import Batch, in_order
from training.cells.cell import state_out
from training.data.dataset import Split
from training.errors import TrainingError
from training.export.network import LENGTHS, feeds, network_output
from training.model import Network

# Relative to the value where that is above 1. c is a sum over steps, which reaches 25 after 29 steps: there a
# float32 is 2e-6 coarse, and PyTorch is as far from float64 as ONNX Runtime is. A forecast is in the units of
# its series, and its tolerance is relative to the series' usual size; a quantile is a sum of several numbers.
TOLERANCE = 1e-5

Floats = NDArray[np.float32]


class ParityError(TrainingError):
    """The graph's outputs differ from the network's; nothing was exported."""


def check(graph: bytes, network: Network, split: Split, *, batch_size: int = 64) -> dict[str, float]:
    """Largest absolute differences by tensor: outputs at true steps, final states. Raises ParityError."""
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [network_output(network), *map(state_out, network.states)]
    errors, bad = dict.fromkeys(names, 0.0), set()
    for batch in in_order(split, batch_size=batch_size):
        pairs = zip(names, _onnx(session, names, network, batch), _torch(network, batch), strict=True)
        for name, actual, expected in pairs:
            error = np.abs(actual - expected)
            errors[name] = float(np.maximum(errors[name], error.max()))  # keeps a NaN
            unit = _units(network) if network.quantiles and name == names[0] else 1
            if not (
                error <= TOLERANCE * np.maximum(unit, np.abs(expected))
            ).all():  # `not <=`: NaN is bad too
                bad.add(name)
    if bad:
        differences = ", ".join(f"{name} by {errors[name]:.3g}" for name in names if name in bad)
        raise ParityError(f"ONNX Runtime and PyTorch differ by more than {TOLERANCE:g}: {differences}")
    return errors


def describe(errors: dict[str, float], network: Network) -> str:
    """The result of `check` as text: each difference beside its tolerance."""
    if network.quantiles is None:
        return (
            f"PyTorch and ONNX Runtime differ by at most {max(errors.values()):.2g} "
            f"(tolerance {TOLERANCE:g}, relative to values above 1)"
        )
    tolerances = sorted({f"{TOLERANCE * unit:.2g}" for unit in _units(network)}, key=float)
    span = " to ".join(dict.fromkeys((tolerances[0], tolerances[-1])))
    states = max((error for name, error in errors.items() if name != network_output(network)), default=0.0)
    return (
        f"PyTorch and ONNX Runtime differ by at most {errors[network_output(network)]:.2g} in the forecast "
        f"(tolerance {span}: {TOLERANCE:g} of the scale of each series), and {states:.2g} in the states "
        f"(tolerance {TOLERANCE:g}, relative to values above 1)"
    )


def _units(network: Network) -> Floats:
    """The usual size of each forecast number, at least 1, times the number of its summands: [out]."""
    assert network.quantiles is not None
    layer, inputs = network.quantiles, network.input_layer
    level = inputs.shift[layer.columns].abs() + 1 / inputs.scale[layer.columns]
    unit = layer.count * torch.maximum(layer.reach, level).clamp_min(1)
    units: Floats = unit.repeat_interleave(layer.count).numpy()
    return units


def _onnx(session: ort.InferenceSession, names: list[str], network: Network, batch: Batch) -> list[Floats]:
    lengths = batch.lengths.numpy().astype(np.int32)
    zeros = zip(network.states, network.initial_state(len(lengths)), strict=True)
    inputs = {**feeds(network, batch.x.numpy()), LENGTHS: lengths}
    y, *state = session.run(names, inputs | {name: state.numpy() for name, state in zeros})
    return [_true_steps(y, lengths), *state]


@torch.inference_mode()
def _torch(network: Network, batch: Batch) -> list[Floats]:
    y, state = network(batch.x, batch.lengths, network.initial_state(len(batch.x)))
    return [_true_steps(y.numpy(), batch.lengths.numpy()), *(part.numpy() for part in state)]


def _true_steps(y: Floats, lengths: NDArray[np.int64] | NDArray[np.int32]) -> Floats:
    return y[np.arange(y.shape[1]) < lengths[:, None]]  # [steps, out]
