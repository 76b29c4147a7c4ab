"""Purchases of music by mail, as events: will this customer buy again within 39 weeks?

CDNOW: all 23,570 people who first bought in January to March 1997. A step is a day with a purchase; the last
step is the day of the prediction, 30 September 1997, with the time since the last purchase and no purchase. A
tenth of the customers is the test part, another tenth validation, in a fixed random order.
"""

from collections.abc import Mapping
from datetime import date
from itertools import groupby
from pathlib import Path

import numpy as np

from training.config import Recipe
from training.data.dataset import DataSet, Input, Sequence, Split
from training.data.fetch import Wheel, fetch

WHEEL = Wheel(
    name="lifetimes",
    version="0.11.3",
    sha256="261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8",
    members={
        "lifetimes/datasets/CDNOW_master.txt": (
            "eff6889ed364c5199d6eacbbeb7a6d559971df4406ac876f322c373f00a072ef"
        )
    },
)
FIRST, PREDICTED = date(1997, 1, 1), date(1997, 9, 30)

# Chosen on validation alone.
RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(
        hidden=32, epochs=20, patience=5, batch_size=128, learning_rate=3e-3, buckets=True, clip=1
    ),
}

Event = tuple[date, float, float]  # day, number of discs, dollars


def load() -> DataSet:
    """Three numbers a step: days since the previous step, discs, dollars. Raises FetchError."""
    [path] = fetch(WHEEL)
    customers = read(path)
    order = np.random.RandomState(0).permutation(len(customers))
    train, validation, test = (
        _split([customers[row] for row in rows])
        for rows in np.split(order, [int(0.8 * len(order)), int(0.9 * len(order))])
    )
    return DataSet(
        name="purchases",
        title="CDNOW purchases",
        citation="P. Fader, B. Hardie (2001). Forecasting repeat sales at CDNOW: a case study. Interfaces "
        "31(3) S94-S107; data by the authors, as shipped in lifetimes",
        license="MIT, with the package",
        inputs=(Input(features=("days_since", "discs", "dollars"), units=("d", "", "$"), elapsed=0),),
        labels=("gone", "buys again"),
        train=train,
        validation=validation,
        test=test,
    )


def read(path: Path) -> list[list[Event]]:
    """The events of each customer, in order; lines of one day are one event."""
    rows = [line.split() for line in path.read_text().splitlines()[1:] if line.strip()]
    return [
        [
            (
                date.fromisoformat(day),
                sum(float(row[2]) for row in bought),
                sum(float(row[3]) for row in bought),
            )
            for day, bought in (
                (day, list(of_day)) for day, of_day in groupby(of_one, key=lambda row: row[1])
            )
        ]
        for _, of_one in groupby(rows, key=lambda row: row[0])
    ]


def sequence(events: list[Event]) -> Sequence:
    """The events of a customer up to the day of the prediction, as a sequence."""
    known = [event for event in events if event[0] <= PREDICTED]
    days = [FIRST, *(day for day, _, _ in known), PREDICTED]
    since = np.diff(np.array(days, dtype="datetime64[D]")).astype(np.float32)
    bought = np.array([(discs, dollars) for _, discs, dollars in known] + [(0, 0)], np.float32)
    return np.column_stack([since, bought])


def _split(customers: list[list[Event]]) -> Split:
    again = [any(day > PREDICTED for day, _, _ in events) for events in customers]
    return Split(tuple(map(sequence, customers)), np.array(again, np.int64))
