"""Finds rows of the same sequence and time, and times that go back. Decides nothing but what is a duplicate.

Sorted by id and time, such rows are next to each other:

    id  time  values
    a   1     5        first
    a   1     5        doubled: equal to an earlier row of that time
    a   1     7        clashing, as the first is: the same time, other values
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.config import Table
from training.data.file import FIRST_ROW, listed
from training.data.times import Times

MANY = 0.2  # if so many rows share their time with another, they may be several sequences
DAY_S, SUNDAY, NIGHT_H = 86400, 3, (0, 3)  # 1970-01-01 was a Thursday: day 3 after it is a Sunday
NEARLY = 0.9
MOST_IDS = 3  # rows of a sequence on average: a column of more different values names no sequences

Flags = NDArray[np.bool_]


class Repeats(NamedTuple):
    """Rows that share id and time with another row, by their places in the order."""

    doubled: Flags  # equal to an earlier row
    clashing: Flags  # with other values than another row; not those that are doubled
    groups: NDArray[np.int64]  # the number of the id and time of each place

    def kept(self, mode: str) -> Flags:
        """Which places remain: see `Table.duplicates`."""
        if mode == "drop":
            return ~self.doubled
        is_last = np.diff(self.groups, append=-1) != 0
        return is_last if mode == "last" else np.ones(len(self.groups), dtype=bool)


def repeats(frame: pl.DataFrame, order: NDArray[np.int64], starts: Flags, ignore: tuple[str, ...]) -> Repeats:
    """The repeats. `starts`: whether the row at a place has another id or time than the place before."""
    groups = np.cumsum(starts) - 1
    places = np.flatnonzero(np.bincount(groups)[groups] > 1)
    doubled, clashing = np.zeros((2, len(order)), dtype=bool)
    if len(places):
        values = frame.drop(ignore)[order[places]].hash_rows().to_numpy()
        pairs = np.stack([groups[places].astype(np.uint64), values])
        different, first = np.unique(pairs, axis=1, return_index=True)
        doubled[places] = True
        doubled[places[first]] = False
        num_values = np.bincount(different[0].astype(np.int64), minlength=groups[-1] + 1)
        clashing = (num_values[groups] > 1) & ~doubled
    return Repeats(doubled, clashing, groups)


def notes(
    frame: pl.DataFrame, table: Table, order: NDArray[np.int64], when: Times, found: Repeats
) -> list[str]:
    """What the user should know about them. `when`: the times of the rows in the order of the file."""
    name = table.time_column
    assert name is not None
    same = "the same id, time" if table.id_column else "the same time"
    about: list[str] = []
    is_mixed = table.id_column is None and found.clashing.mean() >= MANY
    if found.doubled.any():
        row = int(order[found.doubled].min())
        group = found.groups[np.flatnonzero(order == row)[0]]
        first = int(order[(found.groups == group) & ~found.doubled].min())
        end = "read once" if table.duplicates != "keep" else "--duplicates drop reads each once"
        about.append(
            f"column {name!r}: {listed(order[found.doubled])} repeat earlier rows with {same} and values "
            f"(row {row + FIRST_ROW} that of row {first + FIRST_ROW}); {end}"
        )
    if found.clashing.any():
        about.append(_clash(frame, table, order, when, found, same, is_mixed=is_mixed))
    back = np.flatnonzero(np.diff(when.values) < 0) + 1
    if (
        table.id_column is None
        and not found.clashing.any()
        and len(back)
        and (np.diff(when.values) > 0).any()
    ):
        row = int(back[0])
        about.append(
            f"column {name!r}: the times go back in {listed(back)} ({frame[name][row]} after "
            f"{frame[name][row - 1]}); the rows are sorted into one sequence{_proposal(frame, table, when)}"
        )
    return about


def _clash(
    frame: pl.DataFrame,
    table: Table,
    order: NDArray[np.int64],
    when: Times,
    found: Repeats,
    same: str,
    *,
    is_mixed: bool,
) -> str:
    rows = order[found.clashing]
    same = same.replace(",", " and")
    about = f"column {table.time_column!r}: {listed(rows)} have {same} as another row, and other values"
    if table.duplicates == "last":
        return f"{about}; the last of each is read"
    if when.has_unit and when.spec.zone is None and _is_autumn_night(when.values[rows]):
        return (
            f"{about}, in an hour that comes twice where a clock is put back; --time-zone Europe/Berlin, for "
            "example, tells the two apart"
        )
    if is_mixed:
        return f"{about}: {len(rows):,} of {len(order):,}{_proposal(frame, table, when)}"
    return f"{about}; each is a step of its own, --duplicates last reads the last of each"


def _is_autumn_night(seconds: NDArray[np.float64]) -> bool:
    """Whether all times are in the night of a Sunday, when clocks are put back."""
    days, hours = np.floor(seconds / DAY_S), seconds % DAY_S / 3600
    return bool(((days % 7 == SUNDAY) & (hours >= NIGHT_H[0]) & (hours < NIGHT_H[1])).all())


def _proposal(frame: pl.DataFrame, table: Table, when: Times) -> str:
    """The options that make sequences of the rows."""
    columns = [name for name in frame.columns if _tells_apart(frame[name], table, when)]
    if not columns:
        return "; several sequences need --id-column"
    name = min(columns, key=lambda one: frame[one].n_unique())
    return f"; --id-column {name} makes them {frame[name].n_unique():,} sequences"


def _tells_apart(column: pl.Series, table: Table, when: Times) -> bool:
    """Whether the times of the rows of each value of a column rise, but for a few doubled rows."""
    others = (table.time_column, table.split_column, *table.targets, *table.ignore)
    count = column.n_unique()
    if column.name in others or column.has_nulls() or not 1 < count <= len(column) / MOST_IDS:
        return False
    by_value = np.argsort(column.rank("dense").to_numpy(), kind="stable")
    same = np.diff(column.rank("dense").to_numpy()[by_value]) == 0
    forth = np.diff(when.values[by_value])[same]
    return bool((forth >= 0).all() and (forth > 0).mean() > NEARLY)
