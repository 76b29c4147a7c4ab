"""Whether arrays hold NaN or an infinity, at the least cost: the results of every engine call are checked.

The product of two arrays, summed, is finite only if every number of both is: one call into BLAS, 0.3 µs for
the few numbers of a step. It may overflow for large numbers; then each number is looked at.
"""

from collections.abc import Hashable, Sequence
from math import isfinite

import numpy as np

from service.sequence import Array

FEW = 8192  # numbers; with more, BLAS may start threads of its own


class FiniteCheck:
    """Checks the tensors of one graph, two of equal size with one product."""

    def __init__(self, tensors: Sequence[tuple[str, Hashable]]) -> None:
        """`tensors`: dtype, and a key that is equal for tensors that have the same size in every call."""
        self._pairs: list[tuple[int, int]] = []
        self._others: list[int] = []
        alone: dict[tuple[str, Hashable], int] = {}
        for index, (dtype, size) in enumerate(tensors):
            if dtype in ("float32", "float64"):
                if (first := alone.pop((dtype, size), None)) is not None:
                    self._pairs.append((first, index))
                else:
                    alone[dtype, size] = index
            elif dtype == "float16":
                self._others.append(index)
        self._pairs += [(index, index) for index in alone.values()]

    def passes(self, tensors: Sequence[Array]) -> bool:
        """Whether every number is finite."""
        for first, second in self._pairs:
            array = tensors[first]
            if array.size > FEW or not isfinite(np.vdot(array, tensors[second])):
                return are_finite(tensors)
        return not self._others or are_finite([tensors[index] for index in self._others])


def are_finite(arrays: Sequence[Array]) -> bool:
    """Whether every number of all arrays is finite. Integers always are."""
    return all(bool(np.isfinite(array).all()) for array in arrays if array.dtype.kind == "f")
