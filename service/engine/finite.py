"""Whether arrays hold NaN or an infinity, at the least cost: every engine call asks this of its results."""

import math
from collections.abc import Iterable

import numpy as np

from service.sequence import Array

FEW = 8192  # numbers; with more, BLAS may start threads of its own


def is_finite(array: Array) -> bool:
    """Whether every number of a contiguous array is finite. Integers always are.

    The sum of squares is finite only if every number is: one call into BLAS, 0.4 µs for the few numbers of a
    step. It overflows for numbers beyond the square root of the largest; then each number is checked.
    """
    kind = array.dtype.char
    if kind in "fd" and array.size <= FEW and math.isfinite(np.vdot(array, array)):
        return True
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def are_finite(arrays: Iterable[Array]) -> bool:
    """Whether every number of all arrays is finite."""
    return all(map(is_finite, arrays))
