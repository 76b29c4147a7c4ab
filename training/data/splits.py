"""Splits the sequences of a table into a training, a validation and a test part. Knows no file.

All choices and scales depend on the training part alone.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Split, hold_out
from training.data.file import TableError

LEAST = 10  # with fewer sequences, each one is split by time
EACH = 3  # fewest sequences of a class: one for each part
WINDOW, STRIDE = 256, 128  # steps of the windows into which sequences for forecasts and labels are cut

PARTS = ("training", "validation", "test")

Slices = list[slice]  # of the rows in order


class Parts(NamedTuple):
    """The three parts: different sequences or, if there are few, consecutive pieces of each."""

    train: Slices
    validation: Slices
    test: Slices

    def in_training(self, count: int) -> NDArray[np.bool_]:
        """Which of `count` rows belong to the training part."""
        is_training = np.zeros(count, dtype=bool)
        for one in self.train:
            is_training[one] = True
        return is_training


def split_sequences(
    sequences: Slices, share: float, *, labels: tuple[str, ...] = (), codes: Any = None
) -> Parts:
    """Split sequences of rows into parts. Raises TableError if there are too few.

    `share`: of the test part, and of validation among the rest. `labels`, `codes`: the classes of whole
    sequences, by which the parts are stratified.
    """
    count = len(sequences)
    strata = np.array([codes[one.start] if labels else 0 for one in sequences])
    if count < LEAST and not labels:
        return _by_time(sequences, share)
    sizes = np.bincount(strata, minlength=max(1, len(labels)))
    if count < LEAST or (labels and sizes.min() < EACH):
        rarest = int(sizes.argmin())
        raise TableError(
            f"{count} sequences: at least {LEAST}, and three of each class, are needed; "
            f"{labels[rarest]!r} has {sizes[rarest]}"
        )
    numbers = Split(tuple(np.array([[row]], np.float32) for row in range(count)), strata)
    rest, test = hold_out(numbers, share=share, seed=0)
    train, validation = hold_out(rest, share=share, seed=0)
    return Parts(
        *([sequences[int(one[0, 0])] for one in part.sequences] for part in (train, validation, test))
    )


def _by_time(sequences: Slices, share: float) -> Parts:
    """Consecutive pieces of each sequence."""
    cuts = [(one.start, one.stop - one.start) for one in sequences]
    if (shortest := min(length for _, length in cuts)) < LEAST:
        raise TableError(
            f"fewer than {LEAST} sequences are split by time, and need at least {LEAST} steps each; "
            f"the shortest of {len(cuts)} has {shortest}"
        )
    ends = [(at, at + int((1 - 2 * share) * n), at + int((1 - share) * n), at + n) for at, n in cuts]
    return Parts(
        [slice(a, b) for a, b, _, _ in ends],
        [slice(b, c) for _, b, c, _ in ends],
        [slice(c, d) for _, _, c, d in ends],
    )


def windows(part: Slices) -> Slices:
    """Sequences cut into windows, because long sequences give few steps of the optimiser."""
    return [
        slice(start, min(start + WINDOW, one.stop))
        for one in part
        for start in range(one.start, max(one.start + 1, one.stop - WINDOW + STRIDE), STRIDE)
    ]
