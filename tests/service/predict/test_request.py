"""The outputs of a reply: the first, every one, or those requested by name."""

from typing import Any

import orjson
import pytest

from service.errors import CellgateError, InvalidField, SessionConflict
from service.predict import OpenInference
from tests.service.predict.parts import SPEAKERS, Parts, SpeakerSums, run

SEQUENCE = {"steps": {"x": [[1.0], [2.0], [3.0]], "speaker": [1, 0]}}
ODDS = {"label": "yes", "probability": 1}


def speakers() -> Parts:
    return Parts(engine=SpeakerSums, manifest=SPEAKERS)


def test_the_first_output_is_the_default() -> None:
    async def body() -> None:
        assert await speakers().predict(SEQUENCE) == [{"output": [[2], [4], [7]]}]
        assert await speakers().predict(SEQUENCE, **{"return": "last"}) == [{"output": [7]}]

    run(body)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (["count"], {"outputs": {"count": 7}}),
        (["odds", "y"], {"outputs": {"odds": [0, 1], "y": [7]}} | ODDS),
        (["total", "count", "y"], {"outputs": {"total": 7, "count": 7, "y": [7]}}),
    ],
)
def test_outputs_are_named_in_the_order_requested(outputs: list[str], expected: dict[str, Any]) -> None:
    async def body() -> None:
        answers = await speakers().predict(SEQUENCE, SEQUENCE, outputs=outputs, **{"return": "last"})
        assert answers == [expected, expected]
        assert list(answers[0]["outputs"]) == outputs

    run(body)


def test_every_step_of_scalars_is_a_flat_list_beside_an_output_of_the_last_step() -> None:
    async def body() -> None:
        (answer,) = await speakers().predict(
            SEQUENCE, outputs=["count", "total", "odds"]
        )  # a label each step
        assert answer["outputs"] == {"count": [2, 4, 7], "total": 7, "odds": [[0, 1]] * 3}
        assert (answer["label"], answer["probability"]) == (["yes"] * 3, [1] * 3)
        assert type(answer["outputs"]["count"][0]) is int
        (answer,) = await speakers().predict(SEQUENCE, outputs=["total"])
        assert answer == {"outputs": {"total": 7}}
        with pytest.raises(InvalidField, match="for the last step only") as raised:
            await speakers().predict(SEQUENCE, outputs=["total"], **{"return": "all"})
        assert raised.value.pointer == "/return"

    run(body)


@pytest.mark.parametrize(
    ("outputs", "pointer", "message"),
    [
        (["y", "z"], "/outputs/1", "no output 'z'; it has 'y', 'count', 'odds', 'total'"),
        ([], "/outputs", "at least one name"),
        ("y", "/outputs", "got a string"),
        ([1], "/outputs/0", "a name"),
        (["y", "y"], "/outputs/1", "twice"),
    ],
)
@pytest.mark.parametrize("padding", ["", " " * 600])
def test_other_names_are_refused(outputs: Any, pointer: str, message: str, padding: str) -> None:
    async def body() -> None:
        document = {"sequences": [SEQUENCE], "outputs": outputs}
        with pytest.raises(CellgateError, match=message) as raised:
            await speakers().predictor.predict(orjson.dumps(document) + padding.encode())
        assert (raised.value.status, raised.value.pointer) == (422, pointer)

    run(body)


def test_a_session_answers_by_name_and_a_retry_with_other_names_is_another_request() -> None:
    async def body() -> None:
        parts = speakers()
        first = await parts.predict(SEQUENCE | {"session": "s", "at": 0}, outputs=["count"])
        assert first == [{"outputs": {"count": [2, 4, 7]}, "session": "s", "step": 3}]
        assert await parts.predict(SEQUENCE | {"session": "s", "at": 0}, outputs=["count"]) == first
        with pytest.raises(SessionConflict):
            await parts.predict(SEQUENCE | {"session": "s", "at": 0}, outputs=["y"])
        with pytest.raises(SessionConflict):
            await parts.predict(SEQUENCE | {"session": "s", "at": 0})

    run(body)


@pytest.mark.parametrize("sequence", [{}, {"sequence_id": 5, "sequence_start": True}])
@pytest.mark.parametrize("names", [[], ["total"], ["count", "y"]])
def test_v2_returns_every_output_or_those_requested(sequence: dict[str, Any], names: list[str]) -> None:
    async def body() -> None:
        document = {
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [1, 3, 1], "data": [1, 2, 3]},
                {"name": "speaker", "datatype": "FP32", "shape": [1, 2], "data": [1, 0]},
            ],
            "outputs": [{"name": name} for name in names],
            "parameters": sequence,
        }
        server = OpenInference(speakers().predictor)
        reply = await server.infer("m", None, {}, orjson.dumps(document))
        outputs = {output.pop("name"): output for output in orjson.loads(reply.body)["outputs"]}
        every = {
            "y": {"datatype": "FP32", "shape": [1, 3, 1], "data": [2, 4, 7]},
            "count": {"datatype": "INT64", "shape": [1, 3], "data": [2, 4, 7]},
            "odds": {"datatype": "FP32", "shape": [1, 3, 2], "data": [0, 1] * 3},
            "total": {"datatype": "FP32", "shape": [1, 1], "data": [7]},
        }
        assert outputs == {name: every[name] for name in names or every}

    run(body)
