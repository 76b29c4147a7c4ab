"""`/v2`'s `infer` around an engine that sums: rows of a batch, and sequences that continue."""

import asyncio
from typing import Any

import numpy as np
import orjson
import pytest

from service.api.v2 import metadata
from service.errors import (
    CellgateError,
    DeadlineExceeded,
    InvalidField,
    ReplyTooLarge,
    SessionConflict,
    SessionExists,
    SessionGone,
    UnknownModel,
    UnknownSession,
)
from service.manifest import Manifest, OutputSpec
from service.predict import OpenInference, Reply
from service.sequence import Result, Sequence
from tests.service.predict.parts import GATED, SUMS, GatedSums, Parts, SessionSums, run

TOTAL_FIRST = Manifest(
    task="forecast",
    inputs=SUMS.inputs,
    states=SUMS.states,
    outputs=(OutputSpec(name="total", steps="last"), OutputSpec(name="y", dims=(1,))),
)


class TotalFirst(SessionSums):
    """Its first output has only the last step; the further one, every step."""

    output_dtypes = ("float32", "float32")

    def _step(self, sequence: Sequence, start: int, stop: int) -> Result:
        y, state, *_ = super()._step(sequence, start, stop)
        return Result(y[-1:, 0], state, (y,) if sequence.extra else ())


class Server(Parts):
    """A server of the protocol."""

    def __init__(
        self,
        *versions: str,
        engine: type[SessionSums] = SessionSums,
        manifest: Manifest = SUMS,
        always_restarts: bool = False,
    ) -> None:
        super().__init__(*versions, engine=engine, manifest=manifest)
        self.open_inference = OpenInference(self.predictor, always_restarts=always_restarts)

    async def infer(
        self, *rows: list[float], headers: dict[bytes, bytes] | None = None, version: str | None = None,
        lengths: list[int] | None = None, outputs: list[Any] | None = None, returns: str | None = None,
        **parameters: Any,
    ) -> Reply:  # fmt: skip
        x = np.array(rows, np.float32)[..., None]
        inputs = [{"name": "x", "datatype": "FP32", "shape": x.shape, "data": x.ravel().tolist()}]
        if lengths is not None:
            inputs.append({"name": "lengths", "datatype": "INT32", "shape": [len(rows)], "data": lengths})
        body = orjson.dumps(
            {"inputs": inputs, "outputs": outputs or [], "parameters": parameters | {"return": returns}}
        )
        return await self.open_inference.infer("m", version, headers or {}, body)


def output_of(reply: Reply) -> list[float]:
    (output,) = orjson.loads(reply.body)["outputs"]
    numbers: list[float] = output["data"]
    return numbers


def test_each_row_is_a_sequence_of_its_own() -> None:
    async def body() -> None:
        reply = await Server().infer([1, 2, 3], [10, 10, 10])
        assert output_of(reply) == [1, 3, 6, 10, 20, 30]
        assert (reply.model, reply.version, reply.sequences, reply.steps) == ("m", "1", 2, 6)

    run(body)


def test_rows_end_at_their_lengths() -> None:
    async def body() -> None:
        server = Server()
        reply = await server.infer([1, 2, 3], [10, 10, 10], lengths=[3, 1])
        assert (output_of(reply), reply.steps) == ([1, 3, 6, 10, 0, 0], 4)
        last = await server.infer([1, 2, 3], [10, 10, 10], lengths=[3, 1], returns="last")
        assert output_of(last) == [6, 10]

    run(body)


def test_a_sequence_continues_and_names_its_step() -> None:
    async def body() -> None:
        server = Server()
        await server.infer([1, 2], sequence_id=7, sequence_start=True)
        reply = await server.infer([3], sequence_id=7)
        assert output_of(reply) == [6]
        assert orjson.loads(reply.body)["parameters"] == {"sequence_id": 7, "step": 3}
        await server.infer([1], sequence_id="7", sequence_start=True)
        assert output_of(await server.infer([4], sequence_id=7, sequence_end=True)) == [10]

    run(body)


def test_a_retry_gets_its_answer_in_the_form_it_asks_for() -> None:
    async def body() -> None:
        server = Server()
        await server.infer([1, 2], sequence_id=7, sequence_start=True)
        first = await server.infer([3], sequence_id=7, at=2)
        again = await server.infer([3], sequence_id=7, at=2, binary_data_output=True)
        assert again.json_length is not None and first.json_length is None
        assert np.frombuffer(again.body[again.json_length :], "<f4").tolist() == output_of(first) == [6]
        assert again.steps == 0
        with pytest.raises(SessionConflict):
            await server.infer([4], sequence_id=7, at=2)

    run(body)


def test_the_first_output_by_name_is_a_retry_of_no_outputs() -> None:
    """Both had the same reply, and digest, on servers that answered the first output alone."""

    async def body() -> None:
        server = Server(engine=TotalFirst, manifest=TOTAL_FIRST)
        begun: dict[str, Any] = {"sequence_id": 7, "sequence_start": True, "at": 0, "returns": "last"}
        both = orjson.loads((await server.infer([1, 2], **begun)).body)["outputs"]
        named = await server.infer([1, 2], outputs=[{"name": "total"}], **begun)
        assert named.steps == 0 and [output["name"] for output in both] == ["total", "y"]
        assert orjson.loads(named.body)["outputs"] == both[:1]
        with pytest.raises(SessionExists):
            await server.infer([1, 2], outputs=[{"name": "y"}], **begun)

    run(body)


def test_a_start_is_explicit() -> None:
    async def body() -> None:
        server = Server()
        with pytest.raises(UnknownSession):
            await server.infer([1], sequence_id=7)
        await server.infer([1], sequence_id=7, sequence_start=True)
        with pytest.raises(SessionExists):
            await server.infer([2], sequence_id=7, sequence_start=True)
        again = await server.infer([2], sequence_id=7, sequence_start=True, restart=True)
        assert output_of(again) == [2]

    run(body)


def test_a_sequence_has_one_row() -> None:
    async def body() -> None:
        with pytest.raises(InvalidField, match="needs a batch of 1, got 2"):
            await Server().infer([1], [2], sequence_id=7, sequence_start=True)

    run(body)


def test_an_output_is_requested_by_its_name() -> None:
    async def body() -> None:
        server = Server()
        assert output_of(await server.infer([1], outputs=[{"name": "y"}])) == [1]
        with pytest.raises(InvalidField, match="no output 'z'; it has 'y'"):
            await server.infer([1], outputs=[{"name": "z"}])

    run(body)


@pytest.mark.parametrize("parameters", [{}, {"sequence_id": 7, "sequence_start": True}])
def test_an_output_of_the_last_step_is_that_of_the_last_call(parameters: dict[str, Any]) -> None:
    """A sequence of three calls had three of them in a session, and failed outside."""

    async def body() -> None:
        server = Server(engine=TotalFirst, manifest=TOTAL_FIRST)
        reply = await server.infer([1, 2, 3, 4, 5], **parameters)
        outputs = {output["name"]: output for output in orjson.loads(reply.body)["outputs"]}
        assert (outputs["total"]["shape"], outputs["total"]["data"]) == ([1, 1], [15])
        assert (outputs["y"]["shape"], outputs["y"]["data"]) == ([1, 5, 1], [1, 3, 6, 10, 15])

    run(body)


def test_gates_are_returned_by_name_and_are_not_in_the_metadata() -> None:
    async def body() -> None:
        server = Server(engine=GatedSums, manifest=GATED)
        plain = orjson.loads((await server.infer([1.0, 2.0])).body)
        assert [output["name"] for output in plain["outputs"]] == ["y", "mean"]
        reply = await server.infer([1.0, 2.0], outputs=[{"name": "g0"}])
        assert output_of(reply) == [1, 2, 3, 4, 2, 4, 6, 8]
        described = metadata(GATED, GatedSums.output_dtypes)
        assert [output.name for output in described.outputs] == ["y", "mean"]

    run(body)


def test_a_body_without_json_is_one_row_of_bytes() -> None:
    async def body() -> None:
        x = np.array([1, 2], "<f4").tobytes()
        headers = {b"inference-header-content-length": b"0"}
        reply = await Server().open_inference.infer("m", None, headers, x)
        assert reply.json_length is not None
        assert np.frombuffer(reply.body[reply.json_length :], "<f4").tolist() == [1, 3]

    run(body)


def test_a_request_has_the_time_it_asks_for() -> None:
    async def body() -> None:
        with pytest.raises(DeadlineExceeded):
            await Server().infer([1] * 20, timeout=1)

    run(body)


def test_one_bad_row_fails_the_request() -> None:
    async def body() -> None:
        server = Server()
        server.engines["1"].fail_on = 5.0
        with pytest.raises(CellgateError) as raised:
            await server.infer([1], [5])
        assert raised.value.status == 500
        with pytest.raises(UnknownModel):
            await server.open_inference.infer("z", None, {}, b"{}")

    run(body)


def test_no_rows_are_answered_without_any() -> None:
    """They were never answered: there was no last row to wait for."""

    async def body() -> None:
        for returns, shape in [("all", [0, 2, 1]), ("last", [0, 1, 1])]:
            inputs = [{"name": "x", "datatype": "FP32", "shape": [0, 2, 1], "data": []}]
            raw = orjson.dumps({"inputs": inputs, "parameters": {"return": returns}})
            reply = await asyncio.wait_for(Server().open_inference.infer("m", None, {}, raw), 30)
            (output,) = orjson.loads(reply.body)["outputs"]
            assert (output["shape"], output["data"]) == (shape, [])

    run(body)


def test_a_reply_that_could_be_too_large_is_refused_in_both_forms() -> None:
    async def body() -> None:
        server = Server()
        server.predictor.max_reply_bytes = 40
        assert output_of(await server.infer([1, 2])) == [1, 3]
        with pytest.raises(ReplyTooLarge):
            await server.infer([1, 2, 3])
        reply = await server.infer([1] * 10, binary_data_output=True)
        assert len(reply.body) - (reply.json_length or 0) == 40
        with pytest.raises(ReplyTooLarge):
            await server.infer([1] * 11, binary_data_output=True)
        with pytest.raises(ReplyTooLarge):
            await server.infer([1, 2, 3], sequence_id=7, sequence_start=True)

    run(body)


def test_a_start_that_is_sent_twice_is_a_retry() -> None:
    """It was 409 for up to an hour, for clients that can say neither `at` nor `restart`."""

    async def body() -> None:
        server = Server()
        start: dict[str, Any] = {"sequence_id": 7, "sequence_start": True}
        first = await server.infer([1, 2], **start)
        again = await server.infer([1, 2], **start)
        assert (again.body, again.steps) == (first.body, 0)
        assert output_of(await server.infer([3], sequence_id=7)) == [6], "no step was taken twice"
        with pytest.raises(SessionExists, match="at step 3; restart: true replaces it"):
            await server.infer([1, 2], **start)  # no longer its last request
        await server.infer([1], sequence_id=7, sequence_end=True)
        assert output_of(await server.infer([1, 2], **start)) == [1, 3]
        with pytest.raises(SessionExists):
            await server.infer([2, 2], **start)

    run(body)


def test_a_sequence_of_one_request_runs_each_time() -> None:
    """Its id is free again, so it is no retry: a new default version must answer it."""

    async def body() -> None:
        server = Server()
        whole: dict[str, Any] = {"sequence_id": 7, "sequence_start": True, "sequence_end": True}
        assert [(await server.infer([1, 2], **whole)).steps for _ in range(2)] == [2, 2]

    run(body)


def test_a_start_replaces_a_live_sequence_where_the_server_is_set_so() -> None:
    async def body() -> None:
        server = Server(always_restarts=True)
        start: dict[str, Any] = {"sequence_id": 7, "sequence_start": True}
        first = await server.infer([1, 2], **start)
        assert (await server.infer([1, 2], **start)).body == first.body
        await server.infer([3], sequence_id=7)
        assert output_of(await server.infer([4], **start)) == [4]
        assert output_of(await server.infer([1], sequence_id=7)) == [5]

    run(body)


def test_an_error_of_a_sequence_says_what_starts_it() -> None:
    async def body() -> None:
        server = Server()
        with pytest.raises(UnknownSession, match="sequence_start: true starts one"):
            await server.infer([1], sequence_id=7)
        await server.infer([1], sequence_id=7, sequence_start=True, sequence_end=True)
        with pytest.raises(SessionGone, match="to start it again, send sequence_start: true"):
            await server.infer([1], sequence_id=7)

    run(body)


def test_a_stateless_name_has_no_sequences() -> None:
    async def body() -> None:
        infer = Server().open_inference.infer
        tensor = {"name": "x", "datatype": "FP32", "shape": [2, 1, 1], "data": [1, 2]}
        reply = await infer("m:stateless", None, {}, orjson.dumps({"inputs": [tensor]}))
        assert orjson.loads(reply.body)["model_name"] == "m:stateless" and reply.model == "m"
        named = {"inputs": [tensor], "parameters": {"sequence_id": 1, "sequence_start": True}}
        with pytest.raises(InvalidField, match="send the sequence_id to m"):
            await infer("m:stateless", None, {}, orjson.dumps(named))

    run(body)
