"""Describes an exported network to the service: `model.json`."""

import sys
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from service.manifest import Axes, Example, InputSpec, Manifest, OutputSpec, Provenance, StateSpec
from training.cells.cell import state_out
from training.data.dataset import DataSet
from training.evaluate import predict
from training.export.network import INPUT, LENGTHS, LOGITS, PROBABILITIES
from training.model import Network, softmax

CONFIDENT = 0.99
EXAMPLE_STEPS = 20  # long enough to be cut into pieces, short enough to be read


def example(network: Network, data: DataSet) -> Example:
    """A test sequence that it gets right with confidence; where there is none, the one it is surest of.

    Of several the one whose length is nearest to EXAMPLE_STEPS, and of those the one it is surest of.
    """
    probabilities = softmax(predict(network, data.test).logits)  # [sequences, classes]
    surest, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == data.test.targets
    away = np.abs(np.array([len(sequence) for sequence in data.test.sequences]) - EXAMPLE_STEPS)
    away[~(is_right & (surest >= CONFIDENT))] = away.max() + 1
    row = int(np.lexsort((-surest * is_right, away))[0])
    # `str` of a float32 is its shortest text, and reads back as the same float32
    steps = [[float(str(value)) for value in step] for step in data.test.sequences[row]]
    output = [float(str(value)) for value in probabilities[row]]
    return Example(steps=steps, output=output, label=data.labels[int(probabilities[row].argmax())])


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
    cell, classes = network.cell, (network.out,)
    return Manifest(
        description=f"{data.title}: {type(cell).__name__}, {cell.layers} x {cell.hidden}",
        task="classify",
        causal=cell.causal,
        inputs=(InputSpec(name=INPUT, dims=(network.features,), features=data.features),),
        lengths=LENGTHS,
        axes=Axes(batch=0, time=1),
        states=tuple(
            StateSpec(
                input=name, output=state_out(name), shape=(cell.layers, "batch", cell.state_width(name))
            )
            for name in cell.states
        ),
        outputs=(
            OutputSpec(name=PROBABILITIES, kind="probabilities", dims=classes, labels=data.labels),
            OutputSpec(name=LOGITS, kind="logits", dims=classes),
        ),
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


def versions() -> dict[str, str]:
    """What the figures were made with."""
    packages = ("torch", "lightning", "numpy", "onnx", "onnxruntime")
    return {"python": sys.version.split()[0], **{package: version(package) for package in packages}}
