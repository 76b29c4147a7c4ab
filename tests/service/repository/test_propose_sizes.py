"""Sizes with which a graph runs are found by running it, and so are those that change together."""

from collections.abc import Mapping

import pytest

from service.repository.probe import Port
from service.repository.proposal.sizes import find_sizes

X = Port("x", "float32", ("batch", "time", 4))


def test_names_that_must_be_equal_are_one_group() -> None:
    h = Port("h", "float32", (1, "n", 8))
    found = find_sizes([X, h], [], lambda sizes: sizes["batch"] == sizes["n"])
    assert found is not None
    assert set(found.groups) == {frozenset({"batch", "n"}), frozenset({"time"})}


def test_axes_without_names_are_told_apart() -> None:
    x, h = Port("x", "float32", (None, None, 4)), Port("h", "float32", (1, None, 8))
    found = find_sizes([x, h], [], lambda sizes: sizes["x[0]"] == sizes["h[1]"])
    assert found is not None and frozenset({"x[0]", "h[1]"}) in found.groups


@pytest.mark.parametrize("fixed", [1, 7, 512])
def test_a_size_that_the_weights_fix_is_in_no_group(fixed: int) -> None:
    found = find_sizes([X], [7, 11], lambda sizes: sizes["time"] == fixed)
    assert found is not None
    assert (found.base["time"], found.groups) == (fixed, (frozenset({"batch"}),))


def test_a_literal_size_elsewhere_is_tried() -> None:
    x, h = Port("x", "float32", ("batch", "time", 4)), Port("h", "float32", (1, 5, 8))
    found = find_sizes([x, h], [], lambda sizes: sizes["batch"] == 5)
    assert found is not None and found.base["batch"] == 5


def test_time_in_multiples() -> None:
    found = find_sizes([X], [], lambda sizes: sizes["time"] % 8 == 0)
    assert found is not None
    number = found.group("time")
    assert number is not None and found.grown(number)["time"] == 2 * found.base["time"]


def test_a_graph_that_never_runs_has_no_sizes() -> None:
    tried: list[Mapping[str, int]] = []

    def never(sizes: Mapping[str, int]) -> bool:
        tried.append(sizes)
        return False

    assert find_sizes([X], [7], never) is None
    assert len(tried) > 10
