"""Memories of several heads: their number, and the layout of their tensors."""

import pytest
import torch

from training.cells.heads import Heads, heads_of


@pytest.mark.parametrize(
    ("hidden", "expected"), [(128, (4, 32)), (16, (4, 4)), (12, (1, 12)), (4, (1, 4)), (37, (1, 37))]
)
def test_there_are_four_heads_or_one(hidden: int, expected: tuple[int, int]) -> None:
    heads = heads_of(hidden)
    assert heads == expected
    assert heads.memory == expected[0] * expected[1] ** 2


def test_tensors_are_split_head_by_head() -> None:
    heads = Heads(2, 3)
    assert heads.split(torch.arange(6)[None]).tolist() == [[[0, 1, 2], [3, 4, 5]]]
    square = heads.square(torch.arange(18)[None])
    assert square.shape == (1, 2, 3, 3)
    assert square[0, 1, 0].tolist() == [9, 10, 11]
