"""Compares two answers to the same steps: equal bits, a difference of rounding, or another answer.

It knows arrays and dtypes; it knows nothing of graphs or of how the answers were computed.
"""

from dataclasses import dataclass

import numpy as np

from service.engine import CPU
from service.manifest import Manifest
from service.repository.graph import Graph
from service.sequence import Array

# What rounding can change, as a share of the largest number in the tensor. A batch of another size, or a
# sequence cut elsewhere, adds up the same numbers in another order: a sum of a thousand of them, passed
# through some time steps, loses about a thousand units in the last place. A false claim of a manifest (a
# graph that reads ahead, swapped states, a wrong axis) changes an answer by a share of 0.01 to 1.
FLOAT32 = 1e-4  # the unit is 6e-8
FLOAT16 = 3e-2  # the unit is 5e-4
TENSOR_FLOAT32 = 1e-2  # CUDA multiplies float32 numbers with 10 bits of mantissa
QUANTIZED = 0.5  # activations are rounded to 8 bits of the largest number in the call, in whichever row it is

SMALLEST = 1e-12  # tensors of smaller numbers than this are compared as if they were of this size
# https://onnx.ai/onnx/operators: drawn anew in every call, also with a fixed seed
RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


@dataclass(slots=True, frozen=True)
class Difference:
    """How far an answer is from the expected one."""

    absolute: float = 0.0  # the largest; infinity where one is NaN and the other not
    relative: float = 0.0  # to the largest number that was expected in the same tensor
    tensor: str = ""  # the one with the largest relative difference

    def __or__(self, other: "Difference") -> "Difference":
        """The larger of both."""
        worse = self if self.relative >= other.relative else other
        return Difference(max(self.absolute, other.absolute), worse.relative, worse.tensor)


def compare(name: str, actual: Array, expected: Array) -> Difference:
    """The difference of two tensors of one name and shape. NaN equals only NaN, infinity only itself."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape:
        return Difference(np.inf, np.inf, name)
    if actual.tobytes() == expected.tobytes() or not actual.size:
        return Difference()
    a, b = actual.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    largest = float(np.where(np.isnan(apart), np.inf, apart).max())
    if not largest:  # -0.0 and 0.0, or two NaNs
        return Difference()
    return Difference(largest, largest / max(magnitude(b), SMALLEST), name)


def is_flip(actual: Array, expected: Array) -> bool:
    """Whether so few integers differ that rounding before them, as before an argmax, explains it."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.dtype.kind == "f" or actual.shape != expected.shape:
        return False
    return int((actual != expected).sum()) <= 1 + actual.size // 20


def magnitude(array: Array) -> float:
    """The largest finite absolute value in an array; 0 if there is none."""
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max(initial=0.0))


def is_quantized(graph: Graph) -> bool:
    """Whether a graph, or a graph within it, rounds activations to 8 bits while it runs."""
    return any(
        node.op_type.startswith(("DynamicQuantize", "MatMulInteger"))
        or any(map(is_quantized, node.subgraphs.values()))
        for node in graph.nodes
    )


def draws_random_numbers(graph: Graph) -> bool:
    """Whether a graph, or a graph within it, has an operator whose answer differs from call to call."""
    return any(
        node.op_type in RANDOM or any(map(draws_random_numbers, node.subgraphs.values()))
        for node in graph.nodes
    )


def rounding(manifest: Manifest, provider: str, *, is_quantized: bool = False) -> float:
    """The largest relative difference that rounding explains, for a graph on an execution provider."""
    dtypes = {spec.dtype for spec in manifest.inputs} | {state.dtype for state in manifest.states}
    return max(
        FLOAT32,
        FLOAT16 if "float16" in dtypes else 0.0,
        TENSOR_FLOAT32 if provider != CPU else 0.0,
        QUANTIZED if is_quantized else 0.0,
    )
