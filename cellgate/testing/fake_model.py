"""A model that is a function of yours."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from cellgate.predictions import Array

Function = Callable[[Array, Any], tuple[Array, Any]]
"""(x [time, *dims], state) → (y [time, *dims], state). The state is None at step 0; do not modify it."""


class FakeModel:
    """What `GET /models` says of it, and its function.

    def add(x, total):  # a running sum: a lost, doubled or swapped step is a wrong number
        sums = np.cumsum(x, axis=0) + (0 if total is None else total)
        return sums, sums[-1]

    FakeModel(add, dims=(2,))
    """

    def __init__(
        self,
        function: Function,
        *,
        dims: tuple[int, ...] = (),
        dtype: str = "float32",
        kind: Literal["numeric", "token"] = "numeric",
        labels: tuple[str, ...] = (),
        version: str = "1",
    ) -> None:
        """`dims`: the shape of one time step. `labels`: names of the classes, whose probabilities y are."""
        self.function = function
        self.version = version
        self.dtype, self.dims, self.kind = ("int64" if kind == "token" else dtype), dims, kind
        y, _ = function(np.zeros((1, *dims), self.dtype), None)
        self.output_dtype, self.output_dims, self.labels = y.dtype.name, y.shape[1:], labels

    def entry(self, name: str) -> dict[str, Any]:
        """Its entry in `GET /models`."""
        return {
            "name": name,
            "version": self.version,
            "task": "classify" if self.labels else "forecast",
            "inputs": [{"name": "x", "kind": self.kind, "dtype": self.dtype, "dims": self.dims}],
            "outputs": [
                {
                    "name": "y",
                    "kind": "probabilities" if self.labels else "values",
                    "dtype": self.output_dtype,
                    "dims": self.output_dims,
                    "labels": self.labels,
                    "steps": "all",
                }
            ],
            "sessions": True,
            "default": True,
            "aliases": [],
            "exact": True,
        }
