"""A small model for each kind of input, with random weights: the kinds in docs/inputs.md."""

from pathlib import Path

import numpy as np
import torch

from tests.service import text_models
from tests.service.text_models import TEXTS
from tests.training.synthetic import MIXED
from training.data import tokens
from training.data.dataset import DataSet, Input, Sequence, Split
from training.export import export
from training.model import Network

NUMBERS: dict[str, tuple[Input, ...]] = {
    "sensors": (Input(features=("x", "y", "z")),),
    "spectrum": (Input(features=tuple(f"band_{band}" for band in range(20)), projection=4),),
    "glucose": (Input(features=("mmol", "minutes since"), has_gaps=True),),
    "rows": (Input(kind="image", features=tuple(f"pixel_{column}" for column in range(4))),),
    "film": (Input(kind="video", frame=(2, 3), projection=5),),
    "sound": (Input(kind="audio", samples=4, sample_rate=8000),),
    "station": MIXED,
}
WORDS = {
    "letters": tokens.learn_characters(TEXTS),
    "words": tokens.learn_words(TEXTS, size=9),
    "subwords": tokens.learn_bpe(TEXTS, size=275),
}


def write_all(root: Path) -> None:
    """Write every model below `root`."""
    for name, spec in WORDS.items():
        text_models.write(root, name, spec)
    for name, inputs in NUMBERS.items():
        write(root, name, inputs)


def write(root: Path, name: str, inputs: tuple[Input, ...]) -> None:
    """One model, as version 1."""
    rng = np.random.default_rng(0)
    sequences = tuple(_sequence(rng, inputs, int(steps)) for steps in rng.integers(2, 9, 6))
    split = Split(sequences, rng.integers(0, 3, 6))
    data = DataSet(
        name=name, title="invented", citation="", license="", inputs=inputs, labels=("a", "b", "c"),
        train=split, test=split,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(cell="lstm", features=inputs, hidden=8, layers=1, out=3, embedding=4).eval()
    network.learn_normalisation(sequences)
    export(network, data, root / name / "1", metrics={}, command="", seed=0)


def _sequence(rng: np.random.Generator, inputs: tuple[Input, ...], steps: int) -> Sequence:
    parts = []
    for spec in inputs:
        values = rng.standard_normal((steps, spec.columns))
        if spec.kind == "token":
            values = rng.integers(0, len(spec.vocabulary), (steps, 1)).astype(np.float64)
        if spec.has_gaps:
            values[rng.random(values.shape) < 0.2] = np.nan
        parts.append(values)
    return np.hstack(parts).astype(np.float32)
