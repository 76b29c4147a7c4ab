"""NaN equals only NaN; a difference is relative to the largest number of its tensor."""

from typing import Any

import numpy as np
import pytest

from service.engine import CPU, CUDA
from service.manifest import Manifest
from service.repository.compare import (
    FLOAT16,
    FLOAT32,
    QUANTIZED,
    TENSOR_FLOAT32,
    Difference,
    compare,
    draws_random_numbers,
    is_quantized,
    rounding,
)
from service.repository.graph import Graph, Node


def difference(actual: Any, expected: Any) -> tuple[float, float]:
    found = compare("y", np.array(actual), np.array(expected))
    return found.absolute, found.relative


def test_equal_bits_make_no_difference() -> None:
    assert difference([1.0, np.nan, np.inf], [1.0, np.nan, np.inf]) == (0, 0)
    assert difference([0.0], [-0.0]) == (0, 0)
    assert difference([1, 2], [1, 2]) == (0, 0)
    assert difference(np.zeros((0, 2)), np.zeros((0, 2))) == (0, 0)


def test_a_difference_is_relative_to_the_tensor() -> None:
    assert difference([1.0, 4.5], [1.0, 5.0]) == (0.5, 0.1)
    assert difference([3], [4]) == (1.0, 0.25)
    assert difference([True], [False]) == (1.0, 1e12)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [([np.nan], [1.0]), ([1.0], [np.nan]), ([np.inf], [1.0]), ([np.inf], [-np.inf]), ([1.0], [1.0, 2.0])],
)
def test_nan_infinity_and_other_shapes_are_infinitely_far(actual: Any, expected: Any) -> None:
    assert difference(actual, expected) == (np.inf, np.inf)


def test_the_larger_of_two_differences() -> None:
    near, far = Difference(0.5, 0.1, "h"), Difference(0.1, 0.2, "y")
    assert near | far == far | near == Difference(0.5, 0.2, "y")


def test_the_bound_follows_what_the_graph_computes_with() -> None:
    described = Manifest.model_validate(
        {"task": "label", "inputs": [{"name": "x"}], "outputs": [{"name": "y"}]}
    )
    half = described.model_copy(
        update={"inputs": (described.inputs[0].model_copy(update={"dtype": "float16"}),)}
    )
    assert rounding(described, CPU) == FLOAT32
    assert rounding(half, CPU) == FLOAT16
    assert rounding(described, CUDA) == TENSOR_FLOAT32
    assert rounding(described, CPU, is_quantized=True) == QUANTIZED


def graph(op_type: str, **subgraphs: Graph) -> Graph:
    return Graph((Node(op_type, "", "", (), (), {}, subgraphs),), (), (), {})


def test_random_operators_are_found_within_graphs() -> None:
    assert draws_random_numbers(graph("RandomUniformLike"))
    assert draws_random_numbers(graph("If", then_branch=graph("Add"), else_branch=graph("Bernoulli")))
    assert not draws_random_numbers(graph("Loop", body=graph("LSTM")))


def test_quantized_nodes_are_found_within_graphs() -> None:
    assert is_quantized(graph("DynamicQuantizeLSTM"))
    assert is_quantized(graph("Loop", body=graph("MatMulInteger")))
    assert not is_quantized(graph("Loop", body=graph("LSTM")))
