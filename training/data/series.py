"""Cuts long series into windows, with later values as targets. Knows no data set."""

import csv
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Split, each_step

Floats = NDArray[np.float32]


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, by the names of their columns."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def number(text: str) -> float:
    """A number; NaN for NA, an empty field or a question mark."""
    return float("nan") if text in ("", "NA", "?") else float(text)


def ahead(values: NDArray[Any], horizons: Iterable[int]) -> Floats:
    """[time] → [time, horizons]: the value this many steps later; NaN past the end."""
    none = np.full(len(values), np.nan)
    columns = [np.concatenate([values[steps:], none[:steps]]) for steps in horizons]
    return np.stack(columns, axis=1).astype(np.float32)


def wave(phase: NDArray[Any]) -> Floats:
    """[time] → [time, 2]: sine and cosine of a phase in cycles, whose end is next to its start."""
    turns = 2 * np.pi * np.asarray(phase, np.float64)
    return np.stack([np.sin(turns), np.cos(turns)], axis=1).astype(np.float32)


def calendar(times: list[datetime]) -> tuple[tuple[str, ...], Floats]:
    """Names and columns [time, 6] of hour of the day, day of the week, and day of the year."""
    hour = np.array([time.hour + time.minute / 60 for time in times])
    day = np.array([time.weekday() for time in times])
    year = np.array([time.timetuple().tm_yday for time in times])
    parts = {"hour": hour / 24, "weekday": (day + hour / 24) / 7, "year": year / 365.25}
    names = tuple(f"{name}_{turn}" for name in parts for turn in ("sin", "cos"))
    return names, np.hstack([wave(phase) for phase in parts.values()])


def windows(x: Floats, targets: NDArray[Any], *, steps: int, stride: int) -> Split:
    """Windows of a series [time, columns], one every `stride` steps; the last may be short."""
    return replace(_cut(x, targets, steps=steps, stride=stride), series=whole(x, targets))


def whole(x: Floats, targets: NDArray[Any]) -> Split:
    """The series as one sequence."""
    return _cut(x, targets, steps=len(x), stride=len(x))


def _cut(x: Floats, targets: NDArray[Any], *, steps: int, stride: int) -> Split:
    starts = range(0, max(1, len(x) - steps + stride), stride)
    pieces = [slice(start, start + steps) for start in starts if start < len(x)]
    return Split(
        tuple(np.ascontiguousarray(x[piece]) for piece in pieces),
        each_step([np.ascontiguousarray(targets[piece]) for piece in pieces]),
    )


def join(splits: list[Split]) -> Split:
    """The sequences of several splits, and the series they are windows of."""
    joined = _joined(splits)
    return replace(joined, series=_joined([one.series or one for one in splits]))


def _joined(splits: list[Split]) -> Split:
    sequences = tuple(sequence for one in splits for sequence in one.sequences)
    return Split(sequences, np.concatenate([one.targets for one in splits]))
