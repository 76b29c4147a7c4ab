"""Writes log sigmoid(x) in operators whose bits do not depend on the other rows of the batch.

ONNX Runtime's `Log` and `Softplus` compute whole vectors one way and the rest of the tensor another way. So

    log sigmoid(x) = min(x, 0) - log(1 + u)          u = exp(-|x|), 0 < u <= 1
    log(1 + u)     = 2 atanh(z)                      z = u / (2 + u), 0 < z <= 1/3

with atanh(z) / z a polynomial in z². The error is that of float32.
"""

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

from training.cells.cell import Weights
from training.graph import Graph

DEGREE = 4  # leaves an error of 3e-9


def write_log_sigmoid(graph: Graph, name: str, x: str) -> str:
    """Write log sigmoid(x)."""

    def constant(key: str, value: float) -> str:
        return graph.weight(f"log_sigmoid_{key}", np.array(value, np.float32))

    size = graph.add("Abs", [x], [f"{name}_size"])
    u = graph.add("Exp", [graph.add("Neg", [size], [f"{name}_minus"])], [f"{name}_u"])
    z = graph.add("Div", [u, graph.add("Add", [u, constant("two", 2)], [f"{name}_more"])], [f"{name}_z"])
    square = graph.add("Mul", [z, z], [f"{name}_square"])
    *lower, value = (constant(f"c{power}", each) for power, each in enumerate(_coefficients()))
    for power, each in reversed(list(enumerate(lower))):
        higher = graph.add("Mul", [value, square], [f"{name}_times_{power}"])
        value = graph.add("Add", [higher, each], [f"{name}_from_{power}"])
    log = graph.add("Mul", [value, z], [f"{name}_log"])
    low = graph.add("Min", [x, constant("zero", 0)], [f"{name}_low"])
    return graph.add("Sub", [low, log], [name])


def _coefficients() -> Weights:
    """Of 2 atanh(z) / z as a polynomial in z² up to 1/9, the constant first."""
    between = Chebyshev.interpolate(lambda w: 2 * np.arctanh(np.sqrt(w)) / np.sqrt(w), DEGREE, [0, 1 / 9])
    return np.asarray(between.convert(kind=Polynomial).coef, np.float64)
