"""Describes an exported network to the service: `model.json`."""

import sys
from datetime import UTC, datetime
from importlib.metadata import version

from service.manifest import Axes, InputSpec, Manifest, OutputSpec, Provenance, StateSpec
from training.cells.cell import state_out
from training.data.dataset import DataSet, Input
from training.export.example import example
from training.export.network import LENGTHS, LOGITS, OUTPUT
from training.model import Network


def describe(
    network: Network,
    data: DataSet,
    *,
    metrics: dict[str, float],
    parity: dict[str, float],
    command: str,
    seed: int,
) -> Manifest:
    """All that the service must know about the network's graph."""
    cell = network.cell
    return Manifest(
        description=f"{data.title}: {type(cell).__name__}, {cell.layers} x {cell.hidden}",
        task=data.task,
        causal=cell.causal,
        inputs=tuple(map(_input, data.inputs)),
        lengths=LENGTHS,
        axes=Axes(batch=0, time=1),
        states=tuple(
            StateSpec(input=name, output=state_out(name), shape=(layers, "batch", width))
            for name, (layers, width) in network.states.items()
        ),
        outputs=_outputs(data),
        example=example(network, data),
        metrics=metrics,
        provenance=Provenance(
            data_set=data.title,
            citation=data.citation,
            license=data.license,
            command=command,
            seed=seed,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=versions(),
            parity=parity,
        ),
    )


def _input(given: Input) -> InputSpec:
    if given.kind == "token":
        return InputSpec(
            name=given.name,
            tensor=given.tensor,
            kind="token",
            dtype="int64",
            vocabulary=given.vocabulary,
            tokenizer=given.tokenizer,
            unknown=given.unknown,
            missing_token=given.missing,
        )
    return InputSpec(
        name=given.name,
        tensor=given.tensor,
        kind=given.kind,
        dims=given.frame if given.kind == "video" else (given.columns,),
        features=given.features,
        units=given.units,
        missing="nan" if given.has_gaps else "error",
    )


def _outputs(data: DataSet) -> tuple[OutputSpec, ...]:
    told = data.forecast
    if told is None:
        classes = (len(data.labels),)
        return (
            OutputSpec(name=OUTPUT, kind="probabilities", dims=classes, labels=data.labels),
            OutputSpec(name=LOGITS, kind="logits", dims=classes),
        )
    labels = tuple(
        f"{series} {when} q{quantile:g}"
        for series in data.labels
        for when in told.names
        for quantile in told.quantiles
    )
    return (OutputSpec(name=OUTPUT, kind="values", dims=(len(labels),), labels=labels),)


def versions() -> dict[str, str]:
    """What the figures were made with."""
    packages = ("torch", "lightning", "numpy", "onnx", "onnxruntime")
    return {"python": sys.version.split()[0], **{package: version(package) for package in packages}}
