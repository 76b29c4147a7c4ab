"""Linear regressions of numbers, as yardsticks. They know no network and no score."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import DataSet, Split

RIDGE = 1.0  # of summaries: there may be more of them than sequences

Floats = NDArray[np.float64]


def targets_of(split: Split) -> Floats:
    """All targets of a split: [sequences or steps, numbers]."""
    targets = np.concatenate(split.targets) if split.targets.dtype == object else split.targets
    return targets.astype(np.float64)


def of_steps(data: DataSet, split: Split, *, steps: int = 1) -> Floats:
    """Estimates at every step of a split from the numbers of the last `steps`: [steps, numbers].

    Missing numbers are at their mean, and so are those before the first step; tokens are not used.
    """
    return _fitted(data, split, lambda one: _recent(one, steps), ridge=0)


def of_summaries(data: DataSet, split: Split) -> Floats:
    """Estimates for each sequence from mean, spread, minimum, maximum, first, last, and its length."""
    return _fitted(data, split, lambda x: _summary(x)[None], ridge=RIDGE)


def _fitted(data: DataSet, split: Split, features: Callable[[Floats], Floats], *, ridge: float) -> Floats:
    """Least squares on the features [rows, …] of the sequences of the training part, applied to a split."""
    places = _numbers(data)
    train, test = (
        np.concatenate([features(one[:, places].astype(np.float64)) for one in part.sequences])
        for part in (data.train, split)
    )
    known = targets_of(data.train)
    mean, spread = np.nanmean(train, axis=0), np.nanstd(train, axis=0)
    x, y = (np.nan_to_num((one - mean) / np.where(spread > 0, spread, 1)) for one in (train, test))
    penalty = np.sqrt(ridge) * np.eye(x.shape[1])
    outputs = np.empty((len(y), known.shape[1]))
    for column, targets in enumerate(known.T):
        is_known = ~np.isnan(targets)
        middle = targets[is_known].mean(), x[is_known].mean(axis=0)
        rows = np.vstack([x[is_known] - middle[1], penalty])
        goals = np.concatenate([targets[is_known] - middle[0], np.zeros(len(penalty))])
        outputs[:, column] = middle[0] + (y - middle[1]) @ np.linalg.lstsq(rows, goals, rcond=None)[0]
    return outputs


def _numbers(data: DataSet) -> NDArray[np.int64]:
    """The columns of a sequence that are numbers, not tokens."""
    is_number = np.concatenate([np.full(one.columns, one.kind != "token") for one in data.inputs])
    return np.flatnonzero(is_number)


def _recent(x: Floats, steps: int) -> Floats:
    """[time, numbers] → [time, steps · numbers]: the numbers of the last `steps`; NaN before the first."""
    padded = np.vstack([np.full((steps - 1, x.shape[1]), np.nan), x])
    return np.hstack([padded[steps - 1 - back : len(padded) - back] for back in range(steps)])


def _summary(x: Floats) -> Floats:
    """[time, numbers] → [6 · numbers + 1]."""
    return np.concatenate([x.mean(0), x.std(0), x.min(0), x.max(0), x[0], x[-1], [len(x)]])
