"""An input without a time axis: given at the start of a sequence, and kept with the session's state."""

from typing import Any

import orjson
import pytest

from service.errors import CellgateError, InvalidField, SessionConflict
from service.predict import OpenInference
from tests.service.predict.parts import SPEAKERS, Parts, SpeakerSums, run

STEPS = [[1.0], [2.0]]


class Speakers(Parts):
    """A model whose answers depend on a speaker vector."""

    def __init__(self) -> None:
        super().__init__(engine=SpeakerSums, manifest=SPEAKERS)

    async def step(self, speaker: Any = None, *, steps: Any = STEPS, **fields: Any) -> Any:
        """The output of one sequence; a bare list of steps if it has no speaker."""
        inputs = steps if speaker is None else {"x": steps, "speaker": speaker}
        (answer,) = await self.predict({"steps": inputs} | fields)
        return answer.get("output", answer)


def test_a_session_keeps_the_value_of_its_first_steps() -> None:
    async def body() -> None:
        parts = Speakers()
        assert await parts.step([10, 20], session="s") == [[31], [33]]
        assert await parts.step(session="s") == [[34], [36]]
        parts.engines["1"].states.clear()  # from the store
        assert await parts.step([10, 20], session="s") == [[37], [39]]
        assert await parts.step([1, 0], session="other") == [[2], [4]]

    run(body)


def test_another_value_in_a_session_is_refused_and_changes_nothing() -> None:
    async def body() -> None:
        parts = Speakers()
        await parts.step([10, 20], session="s")
        with pytest.raises(InvalidField, match="'speaker' differs from that at the start of the session"):
            await parts.step([10, 21], session="s")
        assert await parts.step(session="s", at=2) == [[34], [36]]

    run(body)


@pytest.mark.parametrize("fields", [{}, {"session": "s"}, {"session": "s", "at": 0}])
def test_it_must_be_given_with_the_first_steps(fields: dict[str, Any]) -> None:
    async def body() -> None:
        parts = Speakers()
        for inputs in (STEPS, {"x": STEPS}):
            with pytest.raises(InvalidField, match="'speaker' is missing") as raised:
                await parts.step(steps=inputs, **fields)
            assert raised.value.pointer == "/sequences/0"
        good, bad = await parts.predict({"steps": {"x": STEPS, "speaker": [1, 1]}}, STEPS)
        assert good["output"] == [[3], [5]] and bad["error"]["code"] == "invalid_field"

    run(body)


def test_a_retry_is_the_same_with_its_value_and_another_request_without() -> None:
    async def body() -> None:
        parts = Speakers()
        first = await parts.step([10, 20], session="s", at=0)
        assert await parts.step([10, 20], session="s", at=0) == first
        for other in (None, [20, 10]):
            with pytest.raises(SessionConflict):
                await parts.step(other, session="s", at=0)

    run(body)


@pytest.mark.parametrize(
    ("speaker", "code", "place"),
    [
        ([1], "wrong_shape", ""),
        (5, "invalid_field", ""),
        (None, "invalid_field", ""),
        ([1, "2"], "invalid_field", "/1"),
        ([[1, 2]], "wrong_shape", ""),
        ([1, 1e39], "non_finite", "/1"),
    ],
)
@pytest.mark.parametrize("padding", ["", " " * 600])
def test_a_bad_value_is_refused_at_its_place(speaker: Any, code: str, place: str, padding: str) -> None:
    async def body() -> None:
        document = {"sequences": [{"steps": {"x": STEPS, "speaker": speaker}}]}
        with pytest.raises(CellgateError) as raised:
            await Speakers().predictor.predict(orjson.dumps(document) + padding.encode())
        assert (raised.value.code, raised.value.pointer) == (code, f"/sequences/0/steps/speaker{place}")

    run(body)


def test_a_session_that_was_created_without_steps_takes_it_with_the_first() -> None:
    async def body() -> None:
        from service.sessions import Resources

        parts = Speakers()
        resources = Resources(parts.sessions, parts.repository.get, max_ttl_s=60)
        await resources.create("", "s")
        with pytest.raises(InvalidField, match="missing"):
            await parts.step(session="s")
        assert await parts.step([10, 20], session="s") == [[31], [33]]
        await resources.fork("", "s", "copy")
        assert await parts.step(session="copy") == [[34], [36]]

    run(body)


def test_a_session_that_was_created_with_its_state_has_it_already() -> None:
    """At step 0 its first request had to send the speaker again, and could replace it without a word."""

    async def body() -> None:
        from service.sessions import Resources

        parts = Speakers()
        resources = Resources(parts.sessions, parts.repository.get, max_ttl_s=60)
        await resources.create("", "s", state={"sum": [5], "speaker": [10, 20]})
        await resources.fork("", "s", "copy")
        exported = await resources.export("", "s")
        for name in ("s", "other"):
            await resources.import_("", name, exported, replace_live=True)
        for name in ("s", "copy", "other"):
            with pytest.raises(InvalidField, match="'speaker' differs"):
                await parts.step([10, 21], session=name, at=0)
            assert await parts.step(session=name, at=0) == [[36], [38]]
            assert await parts.step(session=name, at=0) == [[36], [38]], "a retry"
            assert await parts.step(session=name, at=2) == [[39], [41]]

    run(body)


def test_a_tensor_of_v2_has_one_value_a_row() -> None:
    async def body() -> None:
        server = OpenInference(Speakers().predictor)

        async def infer(speaker: list[list[float]] | None, **parameters: Any) -> Any:
            rows = 1 if speaker is None else len(speaker)
            inputs: list[dict[str, Any]] = [
                {"name": "x", "datatype": "FP32", "shape": [rows, 2, 1], "data": [1, 2] * rows}
            ]
            if speaker is not None:
                inputs.append({"name": "speaker", "datatype": "FP32", "shape": [rows, 2], "data": speaker})
            document = {"inputs": inputs, "outputs": [{"name": "y"}], "parameters": parameters}
            reply = await server.infer("m", None, {}, orjson.dumps(document))
            return orjson.loads(reply.body)["outputs"][0]["data"]

        assert await infer([[10, 20], [0, 1]]) == [31, 33, 2, 4]
        with pytest.raises(InvalidField, match="'speaker' is missing"):
            await infer(None)
        assert await infer([[10, 20]], sequence_id=1, sequence_start=True) == [31, 33]
        assert await infer(None, sequence_id=1) == [34, 36]
        with pytest.raises(InvalidField, match="differs"):
            await infer([[1, 2]], sequence_id=1)

    run(body)
