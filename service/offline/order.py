"""Whether the rows of each sequence stand together: a key that comes again later is another sequence's rows.

Of each key 8 bytes are kept: 8 MB for a million sequences.
"""

import numpy as np
import polars as pl

from service.errors import StartupError
from service.sequence import Array


class SeenKeys:
    """The keys so far."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._runs: list[Array] = []  # sorted hashes, each run more than twice as long as the next

    def add(self, keys: pl.Series) -> None:
        """The keys of consecutive sequences, in order. Raises StartupError at one that was there before."""
        hashes = np.sort(keys.hash().to_numpy())
        if self._has_any(keys, hashes):
            self._raise(keys)
        while self._runs and len(self._runs[-1]) <= 2 * len(hashes):
            hashes = np.sort(np.concatenate((self._runs.pop(), hashes)))
        self._runs.append(hashes)

    def _has_any(self, keys: pl.Series, hashes: Array) -> bool:
        if keys.n_unique() < len(keys):
            return True
        return any(_overlap(run, hashes) for run in self._runs)

    def _raise(self, keys: pl.Series) -> None:
        seen = keys.is_duplicated()
        for row, value in enumerate(keys.hash().to_numpy()):
            if seen[row] or any(_overlap(run, np.array([value])) for run in self._runs):
                raise StartupError(
                    f"the rows of the sequence {keys[row]!r} do not stand together: sort the file by "
                    f"{self._column!r}"
                )


def _overlap(run: Array, hashes: Array) -> bool:
    places = np.searchsorted(run, hashes)
    inside = places < len(run)
    return bool((run[places[inside]] == hashes[inside]).any())
