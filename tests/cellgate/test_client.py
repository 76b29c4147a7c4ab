"""The client with a real server."""

import asyncio
import inspect
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from cellgate import AsyncClient, AsyncSession, Client, Prediction, Session, SessionExists, SessionGone
from cellgate.errors import (
    BadExport,
    InvalidField,
    ResponseError,
    SessionConflict,
    UnknownModel,
    UnknownSession,
    UnknownVersion,
    WrongShape,
)
from tests.cellgate.conftest import KINDS
from tests.e2e.server import Server

Steps = list[list[float]]


def test_the_first_lines_of_the_readme(server: Server, utterance: Steps, name: str) -> None:
    """Without a block of its own, the client closes its connections with the session's."""
    client = Client(server.url)
    with client.session(name, model="vowels") as session:
        for row in utterance:
            y = session.step(row)
    assert (y.label, y.step) == ("3", 20)
    assert client._http is None


def test_a_session_equals_one_shot_bit_for_bit(client: Client, utterance: Steps, name: str) -> None:
    whole = client.predict_one(utterance, model="vowels")
    session = client.session(name, model="vowels")
    for start in range(0, 20, 7):
        last = session.step(np.asarray(utterance[start : start + 7]))
    assert last.output.tobytes() == whole.output.tobytes()
    assert last.output.dtype == np.float32
    assert last.probability == whole.probability
    assert (last.model, last.version, last.session, last.step) == ("vowels", "1", name, 20)


def test_every_step(client: Client, utterance: Steps, name: str) -> None:
    whole = client.predict_one(utterance, model="vowels", returns="all")
    assert whole.output.shape == (20, 9)
    assert whole.labels is not None and whole.probabilities is not None
    assert (whole.label, whole.labels[-1], len(whole.labels)) == ("3", "3", 20)
    assert whole.probability == whole.probabilities[-1] == whole.output[-1].max()
    with client.session(name, model="vowels") as session:
        parts = [session.step(utterance[:9], returns="all"), session.step(utterance[9:], returns="all")]
    assert np.concatenate([part.output for part in parts]).tobytes() == whole.output.tobytes()


def test_outputs_by_name(client: Client, utterance: Steps) -> None:
    both = client.predict_one(utterance, model="vowels", outputs=["logits", "y"])
    assert list(both.outputs) == ["logits", "y"]
    assert both.output is both.outputs["logits"]
    assert both.label == "3"


def same(a: Prediction, b: Prediction) -> bool:
    arrays = all(x.tobytes() == b.outputs[key].tobytes() for key, x in a.outputs.items())
    marks = (a.label, a.probability, a.labels) == (b.label, b.probability, b.labels)
    return arrays and marks and [y.dtype for y in a.outputs.values()] == [y.dtype for y in b.outputs.values()]


@pytest.mark.parametrize("options", [{}, {"returns": "all"}, {"outputs": ["logits", "y"]}], ids=str)
def test_bytes_and_json_give_the_same_bits(client: Client, utterance: Steps, options: dict[str, Any]) -> None:
    """Many arrays travel as bytes, the same one by one as JSON."""
    x = np.asarray(utterance, np.float32)
    many = [x[: 10 + i % 11] + np.float32(i / 7) for i in range(40)]
    sent: list[str] = []
    client.predict(many[:1], model="vowels")  # opens the connection, reads the models
    assert client._http is not None
    client._http.event_hooks = {"request": [lambda request: sent.append(request.url.path)]}
    together = client.predict(many, model="vowels", **options)
    assert sent == ["/v2/models/vowels/infer"]
    alone = [client.predict_one(steps, model="vowels", **options) for steps in many]
    assert set(sent[1:]) == {"/predict"}
    assert all(map(same, together, alone))


def test_more_sequences_than_one_request_takes(client: Client, utterance: Steps) -> None:
    many = [utterance[: 1 + i % 20] for i in range(300)]
    answers = client.predict(many, model="vowels")
    assert len(answers) == 300
    assert same(answers[299], client.predict_one(many[299], model="vowels"))
    assert client.predict([]) == []


def test_one_bad_sequence_among_many(client: Client, utterance: Steps) -> None:
    many: list[Any] = [utterance] * 260
    many[258] = [[1.0, 2.0]]
    with pytest.raises(WrongShape, match="expected 12 numbers, got 2") as error:
        client.predict(many, model="vowels")
    assert error.value.pointer == "/sequences/258/steps/0"
    results = client.predict(many, model="vowels", return_exceptions=True)
    assert [i for i, result in enumerate(results) if isinstance(result, ResponseError)] == [258]
    [only] = client.predict([[[1.0]]], model="vowels", return_exceptions=True)
    assert isinstance(only, WrongShape)


def test_a_bad_array_among_many_is_named(client: Client, utterance: Steps) -> None:
    """Bytes are refused as a whole; JSON says which one."""
    many = [np.asarray(utterance)] * 40
    many[7] = np.full((20, 12), 1e39)
    with pytest.raises(InvalidField) as error:
        client.predict(many, model="vowels")
    assert error.value.pointer is not None and error.value.pointer.startswith("/sequences/7/")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_input_and_output(client: Client, kind: str, name: str) -> None:
    """The example of each model, which has the expected output, whole and in a session."""
    model = client.model(kind)
    example = model.details["example"]
    whole = client.predict_one(example["steps"], model=kind, returns="last")
    assert np.allclose(whole.output, example["output"], atol=example["tolerance"])
    assert whole.output.dtype == model.outputs[0].dtype
    assert whole.output.shape == model.outputs[0].dims
    part = client.session(name, model=kind).step(example["steps"], returns="last")
    assert part.output.tobytes() == whole.output.tobytes()


def test_texts_and_generation(client: Client, name: str) -> None:
    written = client.generate("the cat ", model="letters", max_steps=5, seed=1)
    assert len(written.ids) == 5
    assert written == client.generate("the cat ", model="letters", max_steps=5, seed=written.seed)
    session = client.session(name, model="letters")
    part = session.generate("the cat ", max_steps=5, seed=1)
    assert (part.ids, part.step, session.at) == (written.ids, 13, 13)
    assert session.step(" sat").step == 17


def test_models(client: Client) -> None:
    assert {"vowels", "letters", "voice"} <= {model.name for model in client.models()}
    vowels = client.model("vowels", "1")
    assert vowels.inputs[0].dims == (12,)
    assert vowels.outputs[0].labels[:2] == ("1", "2")
    with pytest.raises(UnknownModel):
        client.model("none")
    with pytest.raises(UnknownVersion):
        client.model("vowels", "7")
    with pytest.raises(UnknownModel, match="several models are loaded; set model to one of"):
        client.predict_one([[1.0]])


def test_sessions_as_resources(client: Client, utterance: Steps, name: str, tmp_path: Path) -> None:
    session = client.session(name, model="vowels")
    session.step(utterance[:10])
    stored = session.stored(state=True)
    assert (stored.session, stored.model, stored.step) == (name, "vowels", 10)
    assert stored.state is not None and stored.state["h"].shape == (1, 128)
    assert session.set_ttl(60).expires_in_s <= 60
    assert session.migrate().version == "1"
    assert name in {each.session for each in client.sessions(model="vowels")}
    exported = session.export(tmp_path / "call.cgs")
    imported = client.import_session(f"{name}-2"[-128:], tmp_path / "call.cgs")
    forked = session.fork(f"{name}-3"[-128:])
    made = client.create_session(f"{name}-4"[-128:], model="vowels", state=stored.state, step=10)
    ends = [each.step(utterance[10:]).output.tobytes() for each in (session, imported, forked, made)]
    assert len(set(ends)) == 1
    with pytest.raises(SessionExists):
        client.import_session(name, exported)
    assert client.import_session(name, exported, replace=True).at == 10
    with pytest.raises(BadExport):
        client.import_session("x", exported[:-1])
    for each in (session, imported, forked, made):
        each.delete()
    with pytest.raises(ResponseError):
        session.stored()


def test_a_change_of_a_session_undoes_no_step_of_another_client(
    client: Client, utterance: Steps, name: str
) -> None:
    session = client.session(name, model="vowels")
    session.step(utterance[:5])
    read = session.stored(state=True)
    exported = session.export()
    assert read.state is not None
    other = client.session(name)
    other.step(utterance[5:7])
    for change in (
        lambda: session.set_state(read.state or {}),
        lambda: session.delete(at=5),
        lambda: client.create_session(name, model="vowels", at=5),
        lambda: client.import_session(name, exported, rewinds=2),
    ):
        with pytest.raises(SessionConflict) as conflict:
            change()
        assert conflict.value.step == 7
    assert other.set_state(read.state, 5).rewinds == 1 and other.at == 5
    other.set_state({name: 0 * value for name, value in read.state.items()})
    assert client.import_session(name, exported, at=5, rewinds=2).stored().rewinds == 3
    with pytest.raises(SessionConflict):
        other.set_state(read.state)
    whole = client.predict_one(utterance, model="vowels").output
    assert (client.session(name).step(utterance[5:]).output == whole).all()
    client.create_session(name, model="vowels", at=20, rewinds=3).delete(at=0)
    with pytest.raises(UnknownSession):
        session.set_state(read.state)


def test_the_asynchronous_client_changes_no_step_of_another_either(
    server: Server, utterance: Steps, name: str
) -> None:
    async def call() -> None:
        async with AsyncClient(server.url) as client:
            session = client.session(name, model="vowels")
            await session.step(utterance[:5])
            state = (await session.stored(state=True)).state or {}
            await client.session(name).step(utterance[5:7])
            with pytest.raises(SessionConflict):
                await session.set_state(state)
            await session.locate()
            assert (await session.set_state(state, 5)).rewinds == 1
            exported = await session.export()
            await client.import_session(name, exported, at=5, rewinds=1)
            made = await client.create_session(name, model="vowels", at=5, rewinds=2)
            await made.delete(at=0)

    asyncio.run(call())


def test_an_end_and_a_new_start(client: Client, utterance: Steps, name: str) -> None:
    with client.session(name, model="vowels") as session:
        assert session.step(utterance, end=True).step == 20
        with pytest.raises(SessionGone) as gone:
            session.step(utterance)
    assert (gone.value.reason, gone.value.step) == ("ended", 20)
    with client.session(name, model="vowels") as again:
        assert again.at == 0


def test_health(client: Client) -> None:
    assert client.is_live() and client.is_ready()
    assert not Client("http://127.0.0.1:9", max_retry_s=0).is_live()


def test_the_asynchronous_client_answers_alike(server: Server, utterance: Steps, name: str) -> None:
    async def call() -> list[Prediction]:
        async with AsyncClient(server.url) as client:
            whole = await client.predict([utterance, utterance[:3]], model="vowels")
            sessions = [client.session(f"{name}-{i}"[-128:], model="vowels") for i in range(5)]
            for start in range(0, 20, 5):
                parts = await asyncio.gather(
                    *(session.step(utterance[start : start + 5]) for session in sessions)
                )
            forked = await sessions[0].fork(f"{name}-fork"[-128:])
            assert (forked.at, (await forked.stored()).step) == (20, 20)
            assert len([each async for each in client.sessions(model="vowels")]) >= 6
            assert (await client.import_session(f"{name}-i"[-128:], await forked.export())).at == 20
            await forked.delete()
            assert await client.is_ready()
            return [*parts, whole[0]]

    answers = asyncio.run(call())
    assert len({answer.output.tobytes() for answer in answers}) == 1


@pytest.mark.parametrize(("ours", "theirs"), [(Client, AsyncClient), (Session, AsyncSession)])
def test_both_clients_have_the_same_methods_and_arguments(ours: type, theirs: type) -> None:
    def methods(of: type) -> dict[str, Any]:
        public = {name: getattr(of, name) for name in dir(of) if not name.startswith("_")}
        return {
            name: list(inspect.signature(each).parameters) for name, each in public.items() if callable(each)
        }

    assert methods(ours) == methods(theirs)


def test_printed_values_are_short(client: Client, utterance: Steps, name: str) -> None:
    last = client.predict_one(utterance, model="vowels")
    assert repr(last).startswith("Prediction(label='3', probability=0.9")
    assert "y=array[20, 9] float32" in repr(client.predict_one(utterance, model="vowels", returns="all"))
    assert repr(client.session(name, at=3)) == f"Session({name!r}, at=3)"
    assert np.asarray(last).shape == (9,)
    assert json.dumps(np.asarray(last).tolist())


def test_a_key_is_sent(server: Server) -> None:
    seen: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200, json={"models": []})

    Client(server.url, api_key="cg_1", transport=httpx.MockTransport(answer)).models()
    assert seen[0]["authorization"] == "Bearer cg_1"
    assert seen[0]["user-agent"].startswith("cellgate-python/")
