"""A forecast equals the same loop by hand over `/predict`, and never moves its session."""

import asyncio
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import (
    CellgateError,
    DeadlineExceeded,
    ForecastNotSupported,
    InvalidField,
    NonFiniteOutput,
    SequenceTooLong,
    SessionMismatch,
    TooManySequences,
    UnknownCheckpoint,
    UnknownSession,
    WrongShape,
)
from service.manifest import Manifest
from service.predict import Forecaster
from service.sequence import Result
from service.sequence import Sequence as Steps
from service.sessions import HistoryRule, Resources, replies
from tests.service.predict.parts import SPEAKERS, SUMS, Parts, SessionSums, SpeakerSums, run

QUANTILES = (0.1, 0.5, 0.9)
SERIES = Manifest.model_validate(
    {
        "task": "forecast",
        "inputs": [{"name": "x", "dims": [2], "features": ["level", "hour"]}],
        "states": [{"input": "sum", "output": "sum_out", "shape": ["batch", 1]}],
        "outputs": [
            {
                "name": "y",
                "dims": [4],
                "forecasts": [
                    {"feature": "level", "steps": 4},
                    *({"feature": "level", "quantile": quantile} for quantile in QUANTILES),
                ],
            }
        ],
    }
)


class Series(SessionSums):
    """The level that it forecasts depends on all steps before: a third of their sum, and the hour."""

    def __init__(self) -> None:
        super().__init__(SERIES)

    def _step(self, sequence: Steps, start: int, stop: int) -> Result:
        x = sequence.inputs[0][start:stop]
        sums = (sequence.state[0] + np.cumsum(x[:, :1], axis=0)).astype(np.float32)  # [steps, 1]
        with np.errstate(over="ignore"):
            middle = sums / np.float32(3) + x[:, 1:]
            y = np.concatenate([middle * 9, middle - 1, middle, middle + 3], axis=1).astype(np.float32)
        return Result(y if sequence.keep_all else y[-1:], (sums[-1],))


class World:
    """A session `s` at step 2 of a model that forecasts its own level."""

    def __init__(self, engine: type[SessionSums] = Series, manifest: Manifest = SERIES) -> None:
        self.parts = Parts(engine=engine, manifest=manifest)
        self.resources = Resources(self.parts.sessions, self.parts.repository.get, max_ttl_s=60)
        self.forecaster = self.with_timeout(10)

    def with_timeout(self, timeout_s: float) -> Forecaster:
        clock = asyncio.get_running_loop().time
        return Forecaster(self.parts.predictor, self.parts.sessions, timeout_s=timeout_s, clock=clock)

    async def begin(self) -> list[float]:
        """The output after the session's last step."""
        await self.resources.create("", "s", history=HistoryRule(4))
        await self.step([0.1, 5])
        return await self.step([0.7, 6])

    async def step(self, *rows: Any, session: str = "s") -> list[float]:
        (answer,) = await self.parts.predict({"steps": list(rows), "session": session})
        output: list[float] = answer["output"]
        return output

    async def forecast(self, session: str = "s", **body: Any) -> dict[str, Any]:
        reply = await self.forecaster.forecast(session, orjson.dumps(body))
        document: dict[str, Any] = orjson.loads(reply.body)
        return document


async def by_hand(world: World, output: list[float], hours: list[float]) -> tuple[list[Any], list[float]]:
    """The same loop, step by step in a fork of the session: the outputs, and the levels fed back."""
    await world.resources.fork("", "s", "copy")
    outputs, levels = [], []
    for hour in hours:
        levels.append(output[2])
        output = await world.step([output[2], hour], session="copy")
        outputs.append(output)
    return outputs, levels


def test_own_outputs_are_fed_back_as_by_hand() -> None:
    async def body() -> None:
        world = World()
        output = await world.begin()
        before = await world.resources.read("", "s")
        reply = await world.forecast(horizon=3, inputs=[[None, 7], [None, 8], [None, 9]])
        assert await world.resources.read("", "s") == before, "not even the time of its last use"
        outputs, levels = await by_hand(world, output, [7, 8, 9])
        assert reply == {
            "model": "m", "version": "1", "session": "s", "step": 2,
            "forecasts": [{"output": outputs, "values": {"level": levels}}],
        }  # fmt: skip

    run(body)


def test_known_values_are_taken_and_their_rows_go_through_in_one_piece() -> None:
    async def body() -> None:
        world = World()
        await world.begin()
        reply = await world.forecast(horizon=3, inputs=[[1, 7], [2, 8], [3, 9]])
        await world.resources.fork("", "s", "copy")
        outputs = [await world.step([level, 6 + level], session="copy") for level in (1, 2, 3)]
        assert reply["forecasts"] == [{"output": outputs}]

    run(body)


def test_a_known_first_value_needs_no_stored_output() -> None:
    async def body() -> None:
        world = World()
        await world.begin()
        reply = await world.forecast(horizon=2, at=1, inputs=[[0.7, 6], [None, 7]])
        again = await world.forecast(horizon=1, inputs=[[None, 7]])
        first, second = reply["forecasts"][0]["output"]
        assert (reply["step"], reply["forecasts"][0]["values"]["level"]) == (1, [0.7, first[2]])
        assert again["forecasts"][0]["output"] == [second], "from a checkpoint as from the session"

    run(body)


def test_samples_are_drawn_from_the_quantiles_and_differ_by_their_number_alone() -> None:
    async def body() -> None:
        world = World()
        output = await world.begin()
        rows = [[None, 7], [None, 8]]
        reply = await world.forecast(horizon=2, inputs=rows, samples=3, seed=5)
        assert reply["seed"] == 5 and len(reply["forecasts"]) == 3
        few = await world.forecast(horizon=2, inputs=rows, samples=2, seed=5)
        assert few["forecasts"] == reply["forecasts"][:2]
        others = await world.forecast(horizon=2, inputs=rows, samples=3)
        assert others["forecasts"] != reply["forecasts"] and others["seed"] != 5
        for sample, forecast in enumerate(reply["forecasts"]):
            chances = np.random.default_rng([5, sample]).random((2, 1))[:, 0]
            source = np.array(output, np.float32)
            for step, chance in enumerate(chances):
                low, high = (1, 2) if chance < QUANTILES[1] else (2, 3)
                share = (chance - QUANTILES[low - 1]) / (QUANTILES[high - 1] - QUANTILES[low - 1])
                drawn = np.float32(source[low] + share * (np.float64(source[high]) - source[low]))
                assert forecast["values"]["level"][step] == pytest.approx(drawn, rel=1e-6)
                source = np.array(forecast["output"][step], np.float32)

    run(body)


BAD: list[tuple[dict[str, Any], type[CellgateError], str, str]] = [
    ({}, InvalidField, "/horizon", "got nothing"),
    ({"horizon": 0}, InvalidField, "/horizon", "from 1 to"),
    ({"horizon": 21}, SequenceTooLong, "/horizon", "are 21, the maximum is 20"),
    ({"horizon": 11, "samples": 2}, SequenceTooLong, "/horizon", "are 22, the maximum is 20"),
    ({"horizon": 1, "samples": 5}, TooManySequences, "/samples", "5 samples, the maximum is 4"),
    ({"horizon": 1, "steps": []}, InvalidField, "/steps", "unknown field"),
    ({"horizon": 2}, ForecastNotSupported, "/inputs", "'hour' one step ahead, so .* and has 0 of 'x'"),
    ({"horizon": 2, "inputs": [[1, 1]]}, ForecastNotSupported, "/inputs", "and has 1 of 'x'"),
    ({"horizon": 1, "inputs": [[1, 1]] * 2}, WrongShape, "/inputs", "2 rows, but the horizon is 1"),
    ({"horizon": 1, "inputs": [[1, None]]}, InvalidField, "/inputs/0/1", "takes no missing values"),
    ({"horizon": 1, "inputs": {"x": [[1, None]]}}, InvalidField, "/inputs/x/0/1", "no missing values"),
    ({"horizon": 1, "inputs": {"z": [[1, 1]]}}, ForecastNotSupported, "/inputs", "has 0 of 'x'"),
    ({"horizon": 1, "inputs": [[1]]}, WrongShape, "/inputs/0", "expected 2 numbers, got 1"),
    ({"horizon": 1, "inputs": "text"}, InvalidField, "/inputs", "expected a list of rows, got a string"),
    ({"horizon": 1, "inputs": 3}, InvalidField, "/inputs", "expected a list of rows"),
    ({"horizon": 1, "inputs": [[1, 1]], "samples": 2}, InvalidField, "/samples", "samples would be equal"),
    ({"horizon": 1, "inputs": [[1, 1]], "at": 7}, UnknownCheckpoint, "/at", "the steps 0, 1, 2, not 7"),
    ({"horizon": 1, "inputs": [[None, 1]], "at": 1}, InvalidField, "/inputs", "before it is not stored"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "error", "pointer", "message"), BAD, ids=str)
def test_what_cannot_be_forecast_is_refused_before_any_work(
    body: dict[str, Any], error: type[CellgateError], pointer: str, message: str
) -> None:
    async def work() -> None:
        world = World()
        await world.begin()
        calls = len(world.parts.engines["1"].batches)
        with pytest.raises(error, match=message) as raised:
            await world.forecast(**body)
        assert raised.value.pointer == pointer
        assert len(world.parts.engines["1"].batches) == calls

    run(work)


def test_the_output_after_the_last_frame_of_a_stream_is_fed_back() -> None:
    """A record holds the replies to several frames, where they are on their way together."""

    async def body() -> None:
        world = World()
        await world.begin()
        expected = await world.forecast(horizon=1, inputs=[[None, 7]])
        live = await world.resources.read("", "s")
        other = replies.Answered(0, 1, b"d" * 16, b'{"output":[9,9,9,9],"step":1}').pack()
        last = replies.Answered(1, 2, b"d" * 16, live.reply).pack()
        live.reply, live.digest = replies.pack([other, last]), replies.NO_DIGEST
        assert await world.forecast(horizon=1, inputs=[[None, 7]]) == expected

    run(body)


@pytest.mark.parametrize("last", ["fork", "rewind", "create"])
def test_an_output_that_is_not_stored_is_not_fed_back(last: str) -> None:
    async def body() -> None:
        world = World()
        await world.begin()
        if last == "fork":
            await world.resources.fork("", "s", "other")
        elif last == "rewind":
            await world.resources.rewind("", "s", 1)
        else:
            await world.resources.create("", "other")
        with pytest.raises(InvalidField, match="output before it is not stored"):
            await world.forecast("s" if last == "rewind" else "other", horizon=1, inputs=[[None, 1]])

    run(body)


def test_a_model_that_does_not_forecast_its_inputs_needs_all_of_them() -> None:
    async def body() -> None:
        world = World(SessionSums, SUMS)
        await world.step([1.0])
        with pytest.raises(ForecastNotSupported, match="no output of the model forecasts its input 'x'"):
            await world.forecast(horizon=2)
        reply = await world.forecast(horizon=2, inputs=[[2], [3]])
        assert reply["forecasts"] == [{"output": [[3.0], [6.0]]}]
        with pytest.raises(UnknownSession):
            await world.forecast("other", horizon=1, inputs=[[1]])

    run(body)


def test_an_output_named_like_the_input_is_the_next_one() -> None:
    async def body() -> None:
        document = SUMS.model_dump() | {"inputs": [{"name": "y", "dims": [1]}]}
        world = World(SessionSums, Manifest.model_validate(document))
        await world.step([1.0])
        reply = await world.forecast(horizon=4)
        assert reply["forecasts"][0]["values"] == {"y[0]": [1, 2, 4, 8]}
        assert reply["forecasts"][0]["output"] == [[2], [4], [8], [16]]
        with pytest.raises(ForecastNotSupported, match="no quantiles of 'y\\[0\\]'"):
            await world.forecast(horizon=2, samples=2)

    run(body)


def test_an_input_without_time_axis_is_that_of_the_session() -> None:
    async def body() -> None:
        world = World(SpeakerSums, SPEAKERS)
        await world.parts.predict({"steps": {"x": [[1]], "speaker": [2, 3]}, "session": "s"})
        reply = await world.forecast(horizon=1, inputs=[[4]])
        assert reply["forecasts"] == [{"output": [[10.0]]}]
        assert await world.forecast(horizon=1, inputs={"x": [[4]], "speaker": [2, 3]}) == reply
        with pytest.raises(InvalidField, match="'speaker' differs"):
            await world.forecast(horizon=1, inputs={"x": [[4]], "speaker": [2, 4]})

    run(body)


def test_a_forecast_that_is_not_a_number_is_refused() -> None:
    async def body() -> None:
        world = World()
        await world.begin()
        with pytest.raises(NonFiniteOutput, match="'level' at step 1 of the horizon"):
            await world.forecast(horizon=2, inputs=[[3e38, 3e38], [None, 1]])

    run(body)


def test_a_deadline_ends_a_forecast() -> None:
    async def body() -> None:
        world = World()
        await world.begin()
        world.forecaster = world.with_timeout(-1)
        with pytest.raises(DeadlineExceeded):
            await world.forecast(horizon=2, inputs=[[None, 1]] * 2)

    run(body)


def test_a_client_that_disconnects_ends_a_forecast() -> None:
    async def body() -> None:
        world = World()
        await world.begin()
        engine = world.parts.engines["1"]
        task = asyncio.create_task(world.forecast(horizon=20, inputs=[[None, 1]] * 20))
        calls = len(engine.batches)
        while len(engine.batches) < calls + 2:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(engine.batches) < calls + 20

    run(body)


def test_a_session_of_a_version_that_was_changed_is_refused() -> None:
    async def body() -> None:
        world = World()
        await world.begin()
        record = await world.resources.read("", "s")
        record.graph = b"another!"
        with pytest.raises(SessionMismatch):
            await world.forecast(horizon=1, inputs=[[1, 1]])

    run(body)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.none() | st.floats(-9, 9, width=32), st.floats(-9, 9, width=32)), min_size=1, max_size=6
    )
)
def test_any_mix_of_known_and_fed_back_values_is_as_by_hand(rows: list[tuple[float | None, float]]) -> None:
    async def body() -> None:
        world = World()
        output = await world.begin()
        reply = await world.forecast(horizon=len(rows), inputs=[list(row) for row in rows])
        await world.resources.fork("", "s", "copy")
        for row, expected in zip(rows, reply["forecasts"][0]["output"], strict=True):
            level = output[2] if row[0] is None else row[0]
            output = await world.step([level, row[1]], session="copy")
            assert output == expected

    run(body)
