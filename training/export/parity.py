"""Compares an ONNX graph with the PyTorch network that it was written from, on real sequences.

Two correct computations in float32 differ: by a bit, or by far more in a deep stack, over a long sequence or
with large outputs. So the network runs in float64, which counts as the truth; in float32; and twice in
float64 with weights that are off by a random part of float32's last bit. The largest error of these three
says how far a correct graph may be from the truth.

    error of a number = |number - truth| / unit of its column      unit: the root mean square of the truth

    graph's error  ≤  slack · FACTORS · max(float32's error, RESOLUTION)    both at QUANTILE, and the largest

The quantile is that of a column, in the worst column: it sees damage to a single output, even where float32
lets a few numbers go astray. The largest error sees damage to a single number.
"""

import copy
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from service.manifest import ParityCheck
from training.batches import Batch, in_order
from training.cells.cell import state_out
from training.data.dataset import Split
from training.errors import TrainingError
from training.export.network import LENGTHS, LOGITS, OUTPUT, feeds, network_output
from training.model import Network

QUANTILE = 0.9
# Of correct graphs of 1,700 random networks, 99 % are within 4 times. Beyond 8 are networks that let a bit
# grow a thousandfold, with weights ten times as large as at the start of training.
FACTORS = (8.0, 32.0)  # of the error at QUANTILE, and of the largest
RESOLUTION = float(np.finfo(np.float32).eps)
# A column far smaller than most has digits that no computation keeps: a closed gate's 1e-9 is a difference of
# numbers near 1. So a column of a state has at least this unit, and one of classes this share of the median.
# The columns of a forecast are in units of their own, so each is its own measure.
SMALLEST_STATE = 0.1
SMALLEST_SHARE = 0.01

Floats = NDArray[np.floating]


class ParityError(TrainingError):
    """The graph's outputs differ from the network's; nothing was exported."""


class Parity(NamedTuple):
    """How far a graph is from its network."""

    differences: dict[str, float]  # largest absolute difference of graph and float32 PyTorch, by tensor
    check: ParityCheck


def check(
    graph: bytes, network: Network, split: Split, *, slack: float = 1.0, batch_size: int = 64
) -> Parity:
    """Compare outputs at true steps and final states. `slack` multiplies all limits. Raises ParityError."""
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    exact = copy.deepcopy(network).double()
    rounded = [network, *(_rounded(exact, seed) for seed in range(2))]
    compared = {name: _Compared() for name in _tensors(network)}
    for batch in in_order(split, batch_size=batch_size):
        served = _onnx(session, network, batch)
        truth, *owns = (_torch(one, batch) for one in (exact, *rounded))
        if not network.quantiles:  # the last node alone: near 0 and 1 it hides differences, or magnifies them
            truth[OUTPUT] = _probabilities(network, served[LOGITS].astype(np.float64))
            for own in owns:
                own[OUTPUT] = _probabilities(network, served[LOGITS])
        for name, one in compared.items():
            one.add(served[name], [own[name] for own in owns], truth[name])
    errors = {name: one.errors(_smallest_unit(name, network, one.units())) for name, one in compared.items()}
    limits = {
        name: tuple(
            slack * factor * max(error, RESOLUTION) for factor, error in zip(FACTORS, own, strict=True)
        )
        for name, (_, own) in errors.items()
    }
    report = ParityCheck(
        slack=slack,
        quantile=QUANTILE,
        graph={name: served for name, (served, _) in errors.items()},
        pytorch={name: own for name, (_, own) in errors.items()},
        limits=limits,
    )
    is_last = {OUTPUT: not network.quantiles}
    differences = {name: one.difference for name, one in compared.items() if not is_last.get(name)}
    _refuse_differences(report, differences)
    return Parity(differences, report)


def describe(report: ParityCheck) -> str:
    """The result of `check` as text: the tensor that is nearest to its limit."""
    worst = max(report.limits, key=lambda name: max(np.divide(report.graph[name], report.limits[name])))
    slack = f", {report.slack:g} times the usual one (--parity)" if report.slack != 1 else ""
    return (
        f"ONNX Runtime differs from float64 by at most {report.graph[worst][1]:.2g} of the scale of {worst}, "
        f"PyTorch in float32 by {report.pytorch[worst][1]:.2g} (limit {report.limits[worst][1]:.2g}{slack})"
    )


def _refuse_differences(report: ParityCheck, differences: dict[str, float]) -> None:
    bad = []
    for name, limits in report.limits.items():
        served, own = report.graph[name], report.pytorch[name]
        if not (np.isfinite(served).all() and np.less_equal(served, limits).all()):  # NaN is bad too
            bad.append(
                f"{name} by {differences.get(name, served[1]):.3g}: {served[0]:.2g} of its scale (quantile "
                f"{QUANTILE}) and {served[1]:.2g} (largest), where float32 explains {limits[0]:.2g} and "
                f"{limits[1]:.2g} (PyTorch's own error: {own[0]:.2g} and {own[1]:.2g})"
            )
    if bad:
        raise ParityError(
            "ONNX Runtime and PyTorch differ by more than float32 explains; nothing was exported: "
            + "; ".join(bad)
        )


class _Compared:
    """One tensor of all batches: the errors of the graph and of PyTorch, and the scale of each column."""

    def __init__(self) -> None:
        self.difference = 0.0
        self._served: list[NDArray[np.float32]] = []
        self._own: list[NDArray[np.float32]] = []
        self._squares: Floats = np.zeros(1)
        self._rows = 0

    def add(self, served: Floats, own: list[Floats], truth: Floats) -> None:
        """Add a batch, each [rows, columns]; the first of `own` is PyTorch in float32."""
        with np.errstate(invalid="ignore"):  # two infinities
            difference = float(np.abs(served - own[0]).max())
        self.difference = float(np.maximum(self.difference, difference))  # keeps a NaN
        self._served.append(np.abs(served - truth).astype(np.float32))
        self._own.append(np.max([np.abs(one - truth) for one in own], axis=0).astype(np.float32))
        self._squares = self._squares + np.square(truth).sum(axis=0)
        self._rows += len(truth)

    def units(self) -> Floats:
        """The root mean square of each column."""
        return np.sqrt(self._squares / self._rows)

    def errors(self, smallest_unit: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """Of the graph and of float32: the error at QUANTILE, and the largest, in units of the columns."""
        unit = np.maximum(self.units(), smallest_unit)
        unit[unit == 0] = 1
        served, own = (np.concatenate(errors) / unit for errors in (self._served, self._own))
        return _quantile_and_largest(served), _quantile_and_largest(own)


def _smallest_unit(name: str, network: Network, units: Floats) -> float:
    if name in map(state_out, network.states):
        return SMALLEST_STATE
    return 0.0 if network.quantiles else SMALLEST_SHARE * float(np.median(units))


def _quantile_and_largest(errors: Floats) -> tuple[float, float]:
    return float(np.quantile(errors, QUANTILE, axis=0, method="higher").max()), float(errors.max())


def _tensors(network: Network) -> list[str]:
    """The compared outputs of the graph: logits and their probabilities, or quantiles; states."""
    return [*dict.fromkeys((network_output(network), OUTPUT)), *map(state_out, network.states)]


def _onnx(session: ort.InferenceSession, network: Network, batch: Batch) -> dict[str, Floats]:
    """The graph's tensors by name, each [rows, columns]."""
    lengths = batch.lengths.numpy().astype(np.int32)
    zeros = zip(network.states, network.initial_state(len(lengths)), strict=True)
    inputs = {**feeds(network, batch.x.numpy()), LENGTHS: lengths}
    names = _tensors(network)
    results = session.run(names, inputs | {name: state.numpy() for name, state in zeros})
    count = len(names) - len(network.states)
    rows = [*(_true_steps(y, batch) for y in results[:count]), *map(_by_unit, results[count:])]
    return dict(zip(names, rows, strict=True))


@torch.inference_mode()
def _torch(network: Network, batch: Batch) -> dict[str, Floats]:
    """The network's output and states by name, each [rows, columns]."""
    x = batch.x.to(network.head.weight.dtype)
    y, state = network(x, batch.lengths, network.initial_state(len(x)))
    states = zip(map(state_out, network.states), (_by_unit(part.numpy()) for part in state), strict=True)
    return {network_output(network): _true_steps(y.numpy(), batch), **dict(states)}


def _probabilities(network: Network, logits: Floats) -> Floats:
    return network.probabilities(torch.from_numpy(logits)).numpy()


def _rounded(exact: Network, seed: int) -> Network:
    """A copy in float64 whose weights are off by at most half a bit of float32, at random."""
    copied = copy.deepcopy(exact)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in copied.parameters():
            noise = torch.rand(weight.shape, generator=generator, dtype=weight.dtype) - 0.5
            weight.mul_(1 + RESOLUTION * noise)
    return copied


def _true_steps(y: Floats, batch: Batch) -> Floats:
    return y[np.arange(y.shape[1]) < batch.lengths.numpy()[:, None]]  # [steps, out]


def _by_unit(state: Floats) -> Floats:
    """[layers, batch, width] → [batch, layers · width]."""
    return state.swapaxes(0, 1).reshape(state.shape[1], -1)
