"""Synthetic data sets, one for each kind of input and task, small enough to train in a second."""

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import DataSet, Forecast, Input, Sequence, Split, Task, each_step

Floats = NDArray[np.float32]
SKY = ("clear", "cloudy", "rain", "snow")


def gapped(rng: np.random.Generator, steps: int, *, share: float = 0.3) -> Sequence:
    """Numbers of which a share is missing."""
    values = rng.standard_normal((steps, 2)).cumsum(axis=0).astype(np.float32)
    values[rng.random(values.shape) < share] = np.nan
    return values


def mixed(rng: np.random.Generator, steps: int) -> Sequence:
    """Two numbers with gaps, a token, another plain number."""
    tokens = rng.integers(0, len(SKY), (steps, 1)).astype(np.float32)
    return np.hstack([gapped(rng, steps), tokens, rng.standard_normal((steps, 1)).astype(np.float32)])


MIXED: tuple[Input, ...] = (
    Input("x", features=("a", "b"), units=("m", "s"), has_gaps=True),
    Input("sky", kind="token", vocabulary=SKY),
    Input("hour", features=("hour",)),
)
TOKENS: tuple[Input, ...] = (Input("x", kind="token", vocabulary=tuple("abcdefg")),)


def data_of(task: Task, *, count: int = 24, seed: int = 0) -> DataSet:
    """A data set for a task: forecast of mixed inputs, language of tokens, others of numbers with gaps."""
    rng = np.random.default_rng(seed)
    lengths = [int(length) for length in rng.integers(3, 30, count)]
    forecast: Forecast | None = None
    inputs: tuple[Input, ...] = (Input(features=("a", "b"), has_gaps=True),)
    labels: tuple[str, ...] = ("up", "down")
    if task == "forecast":
        inputs, labels = MIXED, ("a",)
        forecast = Forecast(columns=(0,), horizons=(1, 3), names=("+1 step", "+3 steps"), season=4)
        sequences = [mixed(rng, length) for length in lengths]
        targets = each_step([rng.standard_normal((length, 2)).astype(np.float32) for length in lengths])
    elif task == "language":
        inputs, labels = TOKENS, TOKENS[0].vocabulary
        sequences = [rng.integers(0, 7, (length, 1)).astype(np.float32) for length in lengths]
        targets = each_step([np.roll(sequence[:, 0], -1).astype(np.int64) for sequence in sequences])
    elif task == "regress":
        labels = ("a", "b c")
        sequences = [gapped(rng, length) for length in lengths]
        units = np.array([1, 10])
        targets = each_step(
            [(units * rng.normal(5, 1, (length, 2))).astype(np.float32) for length in lengths]
        )
    elif task == "multilabel":
        labels = ("fog", "rain", "wind")
        sequences = [gapped(rng, length) for length in lengths]
        values = np.array([0, 0, 1, np.nan], np.float32)
        targets = each_step([rng.choice(values, (length, 3)) for length in lengths])
    else:
        sequences = [gapped(rng, length) for length in lengths]
        targets = each_step([rng.integers(-1, 2, length) for length in lengths])
    split = Split(tuple(sequences), targets)
    return DataSet(
        name=f"synthetic-{task}",
        title="synthetic",
        citation="",
        license="",
        inputs=inputs,
        labels=labels,
        train=split,
        test=split,
        task=task,
        forecast=forecast,
    )


def encoded_data(*, count: int = 8, seed: int = 0) -> DataSet:
    """Frames, wide numbers and wide numbers with gaps, each with a learned encoder: labels at every step."""
    rng = np.random.default_rng(seed)
    inputs = (
        Input("frames", kind="video", frame=(7, 5), projection=6),
        Input("wide", features=tuple(f"w{i}" for i in range(40)), projection=4),
        Input("holes", features=("a", "b"), has_gaps=True, projection=3),
    )
    sequences, targets = [], []
    for length in rng.integers(1, 12, count):
        film = rng.random((length, 35)).astype(np.float32)
        wide = rng.normal(3, 2, (length, 40)).astype(np.float32)
        sequences.append(np.hstack([film, wide, gapped(rng, int(length))]))
        targets.append(rng.integers(0, 2, length))
    split = Split(tuple(sequences), each_step(targets))
    return DataSet(
        name="encoded", title="synthetic", citation="", license="", inputs=inputs, labels=("up", "down"),
        train=split, test=split, task="label",
    )  # fmt: skip
