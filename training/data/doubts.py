"""Notes about doubtful interpretations of a table, with the rows and the option that settles them."""

import numpy as np
from numpy.typing import NDArray

from training.config import Table
from training.data.columns import Column
from training.data.dataset import UNKNOWN
from training.data.file import FIRST_ROW, Content, listed
from training.data.label_doubts import are_flags, separator_in
from training.data.rows import Rows, Spacing

MOST_CODES = 20  # different whole numbers that may be codes
SEEN = 4  # times that each is seen on average
GAP = 1.5  # usual distances: a longer one is a gap


def codes(columns: dict[str, Column], table: Table, task: str) -> list[str]:
    """Notes about columns of few whole numbers, which may be codes: a weekday, the number of a station."""
    notes = []
    flags = are_flags([column for name, column in columns.items() if name in table.targets])
    for name, column in columns.items():
        is_target = name in table.targets
        if column.kind != "number" or (is_target and task != "forecast"):
            continue
        known = column.values.drop_nulls().unique().sort()
        least = 2 if is_target else 3
        if not least <= len(known) <= MOST_CODES or len(column.values) < SEEN * len(known):
            continue
        if (known < 0).any() or (known != known.floor()).any():
            continue
        shown = ", ".join(f"{value:g}" for value in known[:4]) + (", …" if len(known) > 4 else "")
        about = f"column {name!r} has only the whole numbers {shown} ({len(known)}), read as"
        if is_target:
            option = "multilabel predicts them as labels" if flags else "label predicts them as classes"
            notes.append(f"{about} a quantity to forecast; --task {option}")
        else:
            notes.append(f"{about} quantities; if they are codes, --categorical {name} reads them as such")
    return notes


def missing_texts(columns: dict[str, Column], content: Content) -> list[str]:
    """Notes about texts that are read as missing in columns of categories, where they may be data."""
    return [
        f"column {name!r}: {text!r} in {listed(rows)} is read as missing; --missing '' reads so only empty "
        "fields"
        for name, column in columns.items()
        if column.kind == "category"
        for text, rows in sorted(content.marks.get(name, {}).items())
    ]


def several_labels(target: Column) -> list[str]:
    """A note about classes that may be several labels each, such as "rain;wind"."""
    if (found := separator_in(target.values)) is None:
        return []
    mark, places = found
    return [
        f"column {target.name!r}: {target.values[int(places[0])]!r} in {listed(places)} is read as one "
        f"class; --separator '{mark}' reads several labels"
    ]


def classes_never_learnt(
    target: Column, truth: NDArray[np.int64], rows: Rows, in_training: NDArray[np.bool_]
) -> list[str]:
    """A note about each class that the training part does not have."""
    learnt = set(np.unique(truth[in_training]).tolist())
    return [
        f"column {target.name!r}: the class {target.categories[number]!r} is in "
        f"{listed(rows.order[truth == number])} only, not in the training part: it is never predicted"
        for number in np.unique(truth[~in_training]).tolist()
        if number not in learnt and number != UNKNOWN
    ]


def distances(table: Table, rows: Rows, spaced: Spacing | None) -> list[str]:
    """A note about a forecast of steps that are not equally spaced: its horizons count rows."""
    if spaced is None or not spaced.usual:
        return []
    long = np.flatnonzero(spaced.values > GAP * spaced.usual)
    if spaced.is_equal and not len(long):
        return []
    unit = f" {spaced.unit}".rstrip()
    usual = f"{_short(spaced.usual)}{unit}"
    about = f"column {table.time_column!r}: the steps are not equally spaced, usually {usual}"
    if len(long):
        longest = int(spaced.values.argmax())
        row = int(rows.order[longest]) + FIRST_ROW
        about += (
            f", with {len(long):,} above {_short(GAP * spaced.usual)}{unit}, at most "
            f"{_short(spaced.values[longest])}{unit} before row {row}"
        )
    steps = max(table.horizons)
    name = f"+{steps} step{'s' * (steps > 1)}"
    return [f'{about}; a horizon counts rows: "{name}" is not always {_short(steps * spaced.usual)}{unit}']


def _short(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
