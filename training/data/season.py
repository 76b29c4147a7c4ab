"""Finds the length of the season of series, in steps. Knows nothing of tables or networks.

At the right lag a series resembles itself: the mean square difference between values that many steps apart
(the structure function) has a minimum far below the values at shorter lags.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST = 2000  # steps of the longest season that is tried
SEASONS = 2  # a series must hold this many seasons
CLEAR = 0.5  # the minimum is at most this share of the mean difference at shorter lags
NEAR = 0.05  # of that mean: the shortest lag so near to the minimum is chosen, as multiples are minima too


def find(series: Sequence[Sequence[NDArray[Any]]]) -> int:
    """The season of several series, each in pieces [time] without a value in common; 0: none is clear."""
    pieces = [[_standard(piece, one) for piece in one] for one in series]
    longest = max((len(piece) for one in pieces for piece in one), default=0)
    lags = np.arange(1, min(LONGEST, longest // SEASONS) + 1)
    if len(lags) < 3:
        return 0
    differences = np.mean([[_difference(one, int(lag)) for lag in lags] for one in pieces], axis=0)
    known = np.isfinite(differences)
    differences = np.where(known, differences, np.inf)
    shorter = np.cumsum(np.where(known, differences, 0)) / np.maximum(np.cumsum(known), 1)
    is_minimum = np.zeros(len(lags), bool)
    is_minimum[1:-1] = (differences[1:-1] <= differences[:-2]) & (differences[1:-1] < differences[2:])
    is_season = is_minimum & (differences <= CLEAR * shorter)
    if not is_season.any():
        return 0
    limit = differences[is_season].min() + NEAR * shorter
    return int(lags[is_season & (differences <= limit)][0])


def _standard(piece: NDArray[Any], series: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """A piece in units of the spread of its whole series, so that all series count alike."""
    values = np.concatenate(series).astype(np.float64)
    known = values[~np.isnan(values)]
    return piece.astype(np.float64) / ((float(known.std()) if len(known) else 0.0) or 1.0)


def _difference(pieces: list[NDArray[np.float64]], lag: int) -> float:
    """The mean square difference of values this many steps apart; NaN if no such pair is known."""
    total, count = 0.0, 0
    for piece in pieces:
        if len(piece) >= SEASONS * lag:
            square = (piece[lag:] - piece[:-lag]) ** 2
            known = ~np.isnan(square)
            total += float(square[known].sum())
            count += int(known.sum())
    return total / count if count else np.nan
