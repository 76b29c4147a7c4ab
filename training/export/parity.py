"""Holds an ONNX graph against the PyTorch network it was written from, on real sequences."""

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from training.batches import Batch, in_order
from training.cells.cell import state_out
from training.data.dataset import Split
from training.export.network import INPUT, LENGTHS, LOGITS
from training.model import Network

TOLERANCE = 1e-5

Floats = NDArray[np.float32]


class ParityError(ValueError):
    """The graph does not say what the network says; nothing was exported."""


def check(graph: bytes, network: Network, split: Split, *, batch_size: int = 64) -> dict[str, float]:
    """Largest absolute differences on the logits of true steps and on final states. Raises ParityError."""
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [LOGITS, *map(state_out, network.cell.states)]
    errors = dict.fromkeys(names, 0.0)
    for batch in in_order(split, batch_size=batch_size):
        pairs = zip(names, _onnx(session, names, network, batch), _torch(network, batch), strict=True)
        for name, theirs, ours in pairs:
            errors[name] = float(np.maximum(errors[name], np.abs(theirs - ours).max()))  # keeps a NaN
    bad = {
        name: error for name, error in errors.items() if not error <= TOLERANCE
    }  # `not <=`: NaN is bad too
    if bad:
        found = ", ".join(f"{name} by {error:.3g}" for name, error in bad.items())
        raise ParityError(f"ONNX Runtime and PyTorch differ by more than {TOLERANCE:g}: {found}")
    return errors


def _onnx(session: ort.InferenceSession, names: list[str], network: Network, batch: Batch) -> list[Floats]:
    lengths = batch.lengths.numpy().astype(np.int32)
    zeros = zip(network.cell.states, network.initial_state(len(lengths)), strict=True)
    feeds = {INPUT: batch.x.numpy(), LENGTHS: lengths, **{name: state.numpy() for name, state in zeros}}
    logits, *state = session.run(names, feeds)
    return [_true_steps(logits, lengths), *state]


@torch.inference_mode()
def _torch(network: Network, batch: Batch) -> list[Floats]:
    logits, state = network(batch.x, batch.lengths, network.initial_state(len(batch.x)))
    return [_true_steps(logits.numpy(), batch.lengths.numpy()), *(part.numpy() for part in state)]


def _true_steps(y: Floats, lengths: NDArray[np.int64] | NDArray[np.int32]) -> Floats:
    return y[np.arange(y.shape[1]) < lengths[:, None]]  # [steps, out]
