"""Compresses a trained network to fewer units, weights or bits, and measures the loss. Knows no command line.

remove units → zero weights → train again → export → quantize → measure → write, or refuse

The validation part decides whether the result is good enough; the test part is only reported. The graph
before quantisation must agree with PyTorch as any export does. The quantised one computes something else, and
is held against its scores alone.
"""

import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from service.manifest import Manifest
from training import loop
from training.calibration import settings
from training.compress import measure, prune
from training.compress.prune import CompressError, Masks
from training.compress.quantize import Bits, quantized
from training.data.dataset import DataSet
from training.export import parity, write_version
from training.export.example import example_sequence, scale_of
from training.export.manifest import describe
from training.export.network import write_graph
from training.model import Network
from training.run import Run

# Of the example, which every load recomputes; of a forecast relative to its largest number. With INT8,
# activations are scaled by the whole batch.
TOLERANCES = {"fp16": 1e-4, "int8": 0.05}
RISING = ("accuracy", "micro_f1")  # scores of which more is better

__all__ = ["CompressError", "Measured", "Plan", "Report", "compress"]


@dataclass(frozen=True)
class Plan:
    """The compressions to apply."""

    units: float = 0.0  # share of the hidden units of each layer to remove
    weights: float = 0.0  # share of the weights to set to zero
    bits: Bits = "none"
    epochs: int = 10  # of training after pruning
    max_drop: float = 0.01  # largest loss allowed on the validation part
    slack: float = 1.0  # of the parity check of the graph before quantisation

    def describe(self) -> str:
        """A short description."""
        parts = [f"{self.units:.0%} of the units removed"] if self.units else []
        parts += [f"{self.weights:.0%} of the weights zero"] if self.weights else []
        parts += [] if self.bits == "none" else [self.bits.upper()]
        return ", ".join(parts)


@dataclass(frozen=True)
class Measured:
    """The measurements of a graph."""

    validation: dict[str, float]
    test: dict[str, float]
    num_weights: int
    num_zero: int
    size: int  # bytes of model.onnx
    gzipped: int
    milliseconds: dict[str, float]  # by `measure.SHAPES`


@dataclass(frozen=True)
class Report:
    """The measurements before and after."""

    plan: str
    measure: str  # the score that is compared
    before: Measured
    after: Measured

    @property
    def drop(self) -> float:
        """The loss on the validation part: of accuracy or F1, or the relative growth of an error."""
        before, after = self.before.validation[self.measure], self.after.validation[self.measure]
        return before - after if self.measure in RISING else after / before - 1


def compress(done: Run, folder: Path, plan: Plan, *, command: str, force: bool = False) -> Report:
    """Write a compressed version of a finished run's network into `folder`.

    Raises CompressError, ParityError, Interrupted, and FileExistsError unless `force`; then nothing is
    written.
    """
    if not plan.describe():
        raise CompressError("nothing to do: add --units, --prune or --quantize")
    if folder.exists() and not force:
        raise FileExistsError(f"{folder} exists; --force replaces it")
    whole = write_graph(done.network.cpu().eval()).SerializeToString()
    network = _pruned(done, plan).cpu().eval()
    plain = write_graph(network).SerializeToString()
    compared = parity.check(plain, network, done.data.test, slack=plan.slack)
    small = quantized(plain, plan.bits)
    milliseconds = measure.latencies(
        {"before": whole, "after": small}, network, done.data.train.sequences[0].shape[1]
    )
    before = _measured(whole, done.network, done, milliseconds["before"])
    after = _measured(small, network, done, milliseconds["after"])
    report = Report(plan.describe(), _score_name(after.validation), before, after)
    _check_drop(report, plan)
    test = {f"test_{name}": value for name, value in after.test.items()}
    if not (plan.units or plan.weights):  # a network that was trained again has no calibration
        test |= settings(done.metrics)
    manifest = describe(
        network, done.data, metrics=test, parity=compared, command=command, seed=done.config.seed
    )
    write_version(folder, small, _described(manifest, plain, small, network, done.data, plan))
    return report


def _check_drop(report: Report, plan: Plan) -> None:
    if not report.drop <= plan.max_drop:
        before, after = (graph.validation[report.measure] for graph in (report.before, report.after))
        raise CompressError(
            f"{report.measure} on the validation part was {before:.4f} and is {after:.4f}: {report.drop:.4f} "
            f"worse, and at most {plan.max_drop:g} is allowed (--max-drop). Nothing was written"
        )


def _pruned(done: Run, plan: Plan) -> Network:
    """The pruned network, trained again."""
    recipe = done.config.recipe.model_copy(
        update={"epochs": plan.epochs, "learning_rate": done.config.recipe.learning_rate / 2}
    )
    network = done.network
    if plan.units:
        units = prune.largest_units(network, plan.units)
        recipe = recipe.model_copy(update={"hidden": len(units[0])})
        smaller = loop.new_network(done.config.model_copy(update={"recipe": recipe}), done.data)
        prune.copy_units(network, smaller, units)
        network = smaller
    else:
        copy = loop.new_network(done.config, done.data)  # the run's own network must not change
        copy.load_state_dict(network.state_dict())
        network = copy
    masks = prune.weights_masks(network, plan.weights) if plan.weights else {}
    prune.apply(network, masks)
    if not (plan.units or plan.weights):
        return network
    with tempfile.TemporaryDirectory() as scratch:
        config = done.config.model_copy(update={"recipe": recipe})
        loop.fit(config, network, done.data, Path(scratch), callbacks=(_Masked(masks),))
    return network


class _Masked(pl.Callback):
    """Sets the pruned weights to zero again after each step of the optimiser."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:  # noqa: ARG002
        """See pl.Callback."""
        prune.apply(pl_module.network, self._masks)


def _measured(graph: bytes, network: Network, done: Run, milliseconds: dict[str, float]) -> Measured:
    share = done.config.recipe.validation
    _, validation = done.data.train_and_validation(share=share, seed=done.config.seed)
    weights = [parameter for parameter in network.parameters() if parameter.ndim >= 2]
    return Measured(
        validation=measure.scores(graph, network, done.data, validation),
        test=measure.scores(graph, network, done.data, done.data.test),
        num_weights=sum(weight.numel() for weight in weights),
        num_zero=sum(int((weight == 0).sum()) for weight in weights),
        size=len(graph),
        gzipped=len(gzip.compress(graph, mtime=0)),
        milliseconds=milliseconds,
    )


def _score_name(scores: dict[str, float]) -> str:
    """The score that decides whether the result is good enough."""
    return next(name for name in ("bits", "error", *RISING) if name in scores)


def _described(
    manifest: Manifest, plain: bytes, small: bytes, network: Network, data: DataSet, plan: Plan
) -> Manifest:
    """The manifest of the compressed graph: its own example output, and its distance from the full graph."""
    description = f"{manifest.description}; {plan.describe()}"
    if plan.bits == "none":
        return manifest.model_copy(update={"description": description})
    assert manifest.example is not None
    assert manifest.provenance is not None
    output = measure.last_output(small, network, example_sequence(network, data))
    example = manifest.example.model_copy(
        update={
            "output": [float(str(value)) for value in output],
            "label": data.labels[int(output.argmax())] if data.has_classes else None,
            "tolerance": TOLERANCES[plan.bits] * scale_of(output, data),
        }
    )
    provenance = manifest.provenance.model_copy(
        update={"parity": measure.difference(plain, small, network, data.test), "parity_check": None}
    )
    return manifest.model_copy(
        update={"description": description, "example": example, "provenance": provenance}
    )
