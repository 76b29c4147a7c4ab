"""Values to try a graph with: of several kinds, all within what its inputs accept.

It knows the manifest's inputs and the example; it knows nothing of graphs.
"""

from typing import Literal

import numpy as np

from service.manifest import InputSpec
from service.sequence import Array

Kind = Literal["example", "small", "large", "huge"]
KINDS: tuple[Kind, ...] = ("example", "small", "large")
STRANGERS: tuple[Kind, ...] = ("large", "huge")  # of steps and rows that must not be noticed
SPREADS = {"small": 0.3, "large": 4.0, "huge": 1000.0}  # times that of the example


def invent(spec: InputSpec, example: Array, steps: int, kind: Kind, rng: np.random.Generator) -> Array:
    """[steps, *dims] in the input's dtype: the example's own values from a random step on, or random ones.

    Random floats have the mean of the example and a multiple of its spread, or of 1 if that is more, from
    `SPREADS`; random integers lie within the example's range, or within all that the input accepts.
    """
    shape = (steps, *spec.dims)
    if kind == "example":
        repeated: Array = example[(rng.integers(len(example)) + np.arange(steps)) % len(example)]
        return repeated
    if spec.dtype == "bool":
        return rng.random(shape) < 0.5
    if np.dtype(spec.dtype).kind in "iu":
        low, high = _integers(spec, example, kind)
        return rng.integers(low, high + 1, shape).astype(spec.dtype)
    finite = example[np.isfinite(example)].astype(np.float64)
    middle, spread = (finite.mean(), max(finite.std(), 1.0)) if finite.size else (0.0, 1.0)
    noise = rng.standard_normal(shape)
    noise += np.sign(noise) * (kind == "huge")  # no small number among them
    numbers = middle + noise * spread * SPREADS[kind]
    if spec.missing == "nan":
        numbers[rng.random(shape) < 0.1] = np.nan
    return numbers.astype(spec.dtype)


def nudge(array: Array) -> Array:
    """Floats moved by one unit in the last place: shows what rounding can do. Integers and zeros stay."""
    if array.dtype.kind != "f":
        return array
    return np.where(array == 0, array, np.nextafter(array, array.dtype.type(np.inf)))


def _integers(spec: InputSpec, example: Array, kind: Kind) -> tuple[int, int]:
    """The least and the largest integer of a kind."""
    least, largest = int(example.min()), int(example.max())
    if spec.kind == "token":
        return (0, spec.num_ids - 1 if spec.num_ids else largest)
    if spec.dtype == "uint8":
        return (0, 255)
    return (least, largest) if kind == "small" else (min(least, -1), max(largest, 1) * 2)
