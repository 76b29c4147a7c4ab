"""`"return": ["output", "state", "gates"]` of `/predict`, on a model whose gates are known numbers."""

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import (
    CellgateError,
    GatesNotSupported,
    InvalidField,
    ReplyTooLarge,
    SessionConflict,
    SessionNotSupported,
)
from service.manifest import Manifest
from service.sessions import HistoryRule, Resources, session_key
from tests.service.http.streams import World
from tests.service.predict.parts import GATED, SUMS, GatedSums, Parts, SessionSums, run
from tests.service.predict.test_events import Client, Server

ROWS = [[1.0], [2.0], [4.0]]
ALL_THREE = ["output", "state", "gates"]
WINDOWS = Manifest.model_validate(SUMS.model_dump() | {"axes": {"time_size": 2}})
STATELESS = Manifest.model_validate(GATED.model_dump() | {"states": [], "causal": False})


class WindowSums(SessionSums):
    """Sums of two steps a call."""

    def __init__(self) -> None:
        super().__init__(WINDOWS)


def gated() -> Parts:
    return Parts(engine=GatedSums, manifest=GATED)


def returning(words: Any) -> dict[str, Any]:
    """The field "return", which is a word of Python."""
    return {"return": words}


def gates(*values: Any) -> list[dict[str, Any]]:
    heads = [(0, "open"), (0, "shut"), (1, "open")]
    return [
        {"layer": layer, "direction": "forward", "gate": gate, "values": each}
        for (layer, gate), each in zip(heads, values, strict=True)
    ]


LAST = gates([4, 8], [12, 16], [7, 11])
EVERY = gates(
    [[1, 2], [2, 4], [4, 8]], [[3, 4], [6, 8], [12, 16]], [[1, 2], [3, 5], [7, 11]]
)  # of the steps 1, 2, 4


def test_what_is_listed_is_returned_and_nothing_else() -> None:
    async def body() -> None:
        parts = gated()
        answers = {
            ("output", "state", "gates"): {"output": [7], "states": {"sum": [7]}, "gates": LAST},
            ("gates", "last"): {"gates": LAST},
            ("state",): {"states": {"sum": [7]}},
            ("all", "gates", "state", "output"): {
                "output": [[1], [3], [7]],
                "states": {"sum": [[1], [3], [7]]},
                "gates": EVERY,
            },
            ("output", "all"): {"output": [[1], [3], [7]]},
            ("output",): {"output": [7]},
            ("last",): {"output": [7]},
        }
        for words, expected in answers.items():
            assert await parts.predict(ROWS, **returning(words)) == [expected], words
        (named,) = await parts.predict(ROWS, **returning(["all", *ALL_THREE]), outputs=["mean", "g1"])
        assert named["outputs"] == {"mean": [7], "g1": [[[1, 2]], [[3, 5]], [[7, 11]]]}
        assert named["gates"] == EVERY
        several = await parts.predict(ROWS, ROWS[:1], **returning(ALL_THREE))
        assert [each["states"] for each in several] == [{"sum": [7]}, {"sum": [1]}]

    run(body)


def test_gates_are_computed_only_where_they_are_requested() -> None:
    async def body() -> None:
        parts = gated()
        engine = parts.engines["1"]
        assert isinstance(engine, GatedSums)
        await asyncio.gather(
            parts.predict(ROWS), parts.predict(ROWS, **returning(["state", "all"])), parts.predict(ROWS)
        )
        assert engine.num_traced == 0
        await asyncio.gather(parts.predict(ROWS[:1], **returning(["gates"])), parts.predict(ROWS[:1]))
        assert engine.num_traced == 1

    run(body)


def test_an_output_of_the_last_step_is_one_beside_gates_of_all() -> None:
    first = GATED.model_dump()["outputs"]
    manifest = Manifest.model_validate(GATED.model_dump() | {"outputs": [first[1], first[0], *first[2:]]})

    class LastSums(GatedSums):
        def _step(self, sequence: Any, start: int, stop: int) -> Any:
            wanted = sequence.extra
            sequence.extra = (1, *wanted)
            result = super()._step(sequence, start, stop)
            sequence.extra = wanted
            mean, *extra = result.extra
            return result._replace(output=mean, extra=tuple(extra))

    async def body() -> None:
        parts = Parts(engine=LastSums, manifest=manifest)
        (answer,) = await parts.predict(ROWS, **returning(["output", "gates", "all"]))
        assert answer == {"output": [7], "gates": EVERY}

    run(body)


@settings(max_examples=25, deadline=None)
@given(cuts=st.sets(st.integers(1, 5)), in_session=st.booleans(), every=st.sampled_from([None, 1, 2]))
def test_pieces_of_a_sequence_have_the_states_and_gates_of_the_whole(
    cuts: set[int], in_session: bool, every: int | None
) -> None:
    """Also in a session that keeps its earlier states: both cut the sequence."""
    rows = [[float(2**n)] for n in range(6)]
    fields = returning(["all", *ALL_THREE])

    async def body() -> None:
        parts = gated()
        (whole,) = await parts.predict(rows, **fields)
        joined: dict[str, Any] = {"output": [], "sum": [], "gates": [[], [], []]}
        resources = Resources(parts.sessions, lambda *_: None, max_ttl_s=60)  # type: ignore[arg-type]
        token: str | None = None
        ends = sorted({*cuts, 6})
        for begin, end in zip((0, *ends), ends, strict=False):
            place: dict[str, Any] = {"session": "s", "at": begin} if in_session else {"state": token}
            sequence = {"steps": rows[begin:end]} | place
            (part,) = await parts.predict(sequence, **fields, return_state=True)
            token = part["state"]
            joined["output"] += part["output"]
            joined["sum"] += part["states"]["sum"]
            for have, more in zip(joined["gates"], part["gates"], strict=True):
                have += more["values"]
            if in_session and every and not begin:
                await resources.change("", "s", history=HistoryRule(last=9, every=every))
        assert joined["output"] == whole["output"] and joined["sum"] == whole["states"]["sum"]
        assert joined["gates"] == [gate["values"] for gate in whole["gates"]]
        if in_session:
            record = await parts.store.get(session_key("", "s"))
            assert record is not None and record.step == 6

    run(body)


def test_a_retry_gets_the_stored_reply_and_another_return_is_another_request() -> None:
    async def body() -> None:
        parts = gated()
        sequence = {"steps": ROWS, "session": "s", "at": 0}
        (first,) = await parts.predict(sequence, **returning(ALL_THREE))
        assert await parts.predict(sequence, **returning([*reversed(ALL_THREE), "last"])) == [first]
        for other in ("last", ["output", "gates"], ["gates"], [*ALL_THREE, "all"]):
            with pytest.raises(SessionConflict):
                await parts.predict(sequence, **returning(other))
        assert await parts.predict(sequence | {"at": 3}, **returning(["output", "last"]))
        (plain,) = await parts.predict(sequence | {"at": 3}, **returning("last"))
        assert plain == {"output": [14], "session": "s", "step": 6}, "of the output alone it is the same"

    run(body)


@pytest.mark.parametrize(
    ("manifest", "engine", "words", "error", "pointer"),
    [
        (SUMS, SessionSums, ["output", "gates"], GatesNotSupported, "/return/1"),
        (WINDOWS, WindowSums, ["all", "state"], InvalidField, "/return/1"),
        (STATELESS, GatedSums, ["state"], SessionNotSupported, "/return/0"),
    ],
)
def test_what_a_model_cannot_return_is_refused_at_the_word(
    manifest: Manifest,
    engine: type[SessionSums],
    words: list[str],
    error: type[CellgateError],
    pointer: str,
) -> None:
    async def body() -> None:
        parts = Parts(engine=engine, manifest=manifest)
        with pytest.raises(error) as raised:
            await parts.predict(ROWS[:2], **returning(words))
        assert raised.value.pointer == pointer
        assert not parts.engines["1"].batches, "nothing was computed"

    run(body)


def test_a_reply_is_within_the_bytes_that_were_reserved_for_it() -> None:
    numbers = [[1.2345678e-30] for _ in range(9)]

    async def body() -> None:
        for words in (["state", "all"], ["gates", "all"], ["gates", "state"], ["all", *ALL_THREE]):
            parts = gated()
            request = orjson.dumps({"sequences": [numbers], "return": words})
            size = len((await parts.predictor.predict(request)).body)
            parts.predictor.max_reply_bytes = size - 60  # less than the predictions alone
            parts.engines["1"].batches.clear()
            with pytest.raises(ReplyTooLarge):
                await parts.predictor.predict(request)
            assert not parts.engines["1"].batches

    run(body)


def test_events_have_the_gates_of_their_steps_and_resume_from_the_stored_reply() -> None:
    async def body() -> None:
        server = Server(engine=GatedSums, manifest=GATED)
        for session in (None, "s"):
            place = {} if session is None else {"session": session, "at": 0}
            fields = {"sequences": [{"steps": ROWS} | place], "return": ["output", "gates", "all"]}
            client = Client()
            await server.until_broken(fields, client)
            await server.stream(fields, client)
            assert client.reply() == await server.once(fields)
            again = Client()
            await server.stream(fields, again)
            assert again.reply() == client.reply()
        for words, pointer in ((["output", "state", "all"], "/return/1"), (["gates", "all"], "/return")):
            with pytest.raises(InvalidField) as raised:
                await server.stream({"sequences": [ROWS], "return": words}, Client())
            assert raised.value.pointer == pointer

    run(body)


def test_a_stream_answers_frames_with_states_and_gates() -> None:
    async def body() -> None:
        parts = gated()
        world = World(parts=parts)
        world.send(session="s", model="m", **returning(ALL_THREE))
        (opened,) = await world.answers()
        assert opened["return"] == [*ALL_THREE, "last"]
        world.send(steps=ROWS[:1])
        world.send(steps=ROWS[1:])
        first, second = await world.answers()
        assert first["states"] == {"sum": [1]} and first["gates"] == gates([1, 2], [3, 4], [1, 2])
        assert (second["output"], second["states"], second["gates"]) == ([7], {"sum": [7]}, LAST)
        world.send(session="t", model="m", channel=1, **returning(["gates", "all"]))
        await world.answers()
        world.send(steps=ROWS[:2], channel=1)
        world.send(steps=ROWS[2:], channel=1)
        answers = await world.answers()
        assert all("output" not in answer for answer in answers)
        rows = [[row for answer in answers for row in answer["gates"][n]["values"]] for n in range(3)]
        assert rows == [gate["values"] for gate in EVERY]

    run(body)


@pytest.mark.parametrize(
    ("opening", "pointer"),
    [
        ({"return": ["state", "all"]}, "/return/0"),
        ({"return": ["gates"], "encoding": "binary"}, "/return"),
        ({"return": ["gate"]}, "/return/0"),
    ],
)
def test_a_stream_refuses_what_its_replies_cannot_hold(opening: dict[str, Any], pointer: str) -> None:
    async def body() -> None:
        world = World(parts=gated())
        world.send(session="s", model="m", **opening)
        answers = await world.answers()
        assert answers[0]["error"]["pointer"] == pointer

    run(body)
