"""What is large is read and written in a thread, to the same answers as what is small."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest

from service.errors import CellgateError
from service.predict import Aside, Generator, OpenInference
from service.predict.aside import LARGE_BODY, LARGE_OUTPUT, VERY_LARGE_BODY, is_large
from service.sequence import Sequence
from tests.service.predict.parts import LETTERS, LetterSums, Parts, run

PREDICT: list[Any] = [
    {"sequences": [[[1], [2]], [[3]], [["x"]], {"steps": [[1]], "session": "s", "at": 0}]},
    {"sequences": [[[1], [2]]], "return": "all"},
    {"sequences": [[[None]]]},
    {"sequences": [{"steps": [[1]], "session": "s", "at": 7}]},
    {"sequences": []},
    [],
]
INFER: list[dict[str, Any]] = [
    {"shape": [2, 2, 1], "data": [1, 2, 3, 4]},
    {"shape": [0, 2, 1], "data": []},
    {"shape": [1, 2, 1], "data": [[[1.5], [2]]]},
    {"shape": [1, 2, 1], "data": [1, None]},
    {"shape": [1, 0, 1], "data": []},
]
GENERATE: list[Any] = [
    {"prompt": "ab", "seed": 1, "max_steps": 3},
    {"prompt": ["a"], "seed": 1, "max_steps": 3},
    {"prompt": [[]]},
    {"prompt": ["a"], "max_steps": 99},
    {"prompt": [7]},
]


async def answer_of(method: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        return (await method(body)).body
    except CellgateError as error:
        return error.code, error.pointer, error.detail


async def sizes_agree(make: Callable[[], Callable[[bytes], Any]], documents: list[Any]) -> None:
    for document in documents:
        body = orjson.dumps(document)
        expected = await answer_of(make(), body)
        for size in (512, LARGE_BODY + 1):
            assert await answer_of(make(), body + b" " * size) == expected, body


def test_a_prediction_is_the_same_in_a_large_body() -> None:
    run(lambda: sizes_agree(lambda: Parts().predictor.predict, PREDICT))


def test_a_text_is_the_same_in_a_large_body() -> None:
    def make() -> Callable[[bytes], Any]:
        return Generator(Parts(engine=LetterSums, manifest=LETTERS).predictor).generate

    run(lambda: sizes_agree(make, GENERATE))


@pytest.mark.parametrize("parameters", [{}, {"sequence_id": 7, "sequence_start": True}])
def test_a_tensor_is_the_same_in_a_large_body(parameters: dict[str, Any]) -> None:
    def make() -> Callable[[bytes], Any]:
        server = OpenInference(Parts().predictor)
        return lambda body: server.infer("m", None, {}, body)

    tensor = {"name": "x", "datatype": "FP32"}
    documents = [{"inputs": [tensor | entry], "parameters": parameters} for entry in INFER]
    run(lambda: sizes_agree(make, documents))


def test_work_runs_in_a_thread_of_its_own_and_raises_what_it_raises() -> None:
    async def body() -> None:
        aside = Aside()
        assert await aside.run(threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await aside.run(lambda: 1 // 0)
        aside.stop()

    run(body)


def test_a_large_body_does_not_wait_behind_a_very_large_one() -> None:
    """There was one thread: bodies of 75 kB waited behind those of 16 MB for most of a second."""

    async def body() -> None:
        aside, is_read = Aside(), threading.Event()
        very_large = asyncio.create_task(aside.run(is_read.wait, VERY_LARGE_BODY + 1))
        await aside.run(is_read.set, VERY_LARGE_BODY)
        assert await very_large
        aside.stop()

    run(body)


def test_outputs_are_large_together_with_those_requested_beside_them() -> None:
    sequence = Sequence((np.zeros((1, 1)),), ())
    sequence.outputs = [np.zeros(LARGE_OUTPUT - 1), np.zeros(1)]
    assert not is_large(sequence)
    sequence.extra = (1,)
    assert is_large(sequence)
