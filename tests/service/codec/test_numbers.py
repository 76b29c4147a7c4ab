"""Numbers are written in pieces, or at once: to the same bytes."""

import numpy as np
import orjson
import pytest

from service.codec.numbers import PIECE, writable

SHAPES = [
    (3,),
    (PIECE,),
    (PIECE + 1,),
    (300, 300),
    (3, PIECE + 1),
    (2, 300, 300),
    (70_000, 1),
    (PIECE, 2, 2),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pieces_are_the_whole(shape: tuple[int, ...]) -> None:
    y = np.random.default_rng(0).standard_normal(shape).astype(np.float32).reshape(shape)
    option = orjson.OPT_SERIALIZE_NUMPY
    assert orjson.dumps({"y": writable(y)}, option=option) == orjson.dumps({"y": y}, option=option)
