"""The fake server keeps the rules of the real one: the same parts have the same steps, errors and retries."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellgate import AsyncClient, Client
from cellgate.errors import BadExport, InvalidField, NotFound, UnknownModel
from cellgate.predictions import Array
from cellgate.testing import FakeModel, FakeServer
from tests.e2e.server import Server

Answer = tuple[int, str, int | None]
part = st.tuples(
    st.sampled_from([None, 0, 1, 2, 3]), st.sampled_from([1.0, 2.0]), st.integers(1, 2), st.booleans()
)
parts = st.lists(part, min_size=1, max_size=6)


def total(x: Array, state: Any) -> tuple[Array, Any]:
    """The sum of all numbers so far."""
    sums = np.cumsum(x.sum(-1)) + (0 if state is None else state)
    return sums.astype(np.float32), sums[-1]


def fake() -> FakeServer:
    return FakeServer({"scalar": FakeModel(total, dims=(2,))})


def sender(client: httpx.Client, session: str) -> Callable[..., Answer]:
    def send(at: int | None, value: float, steps: int, end: bool) -> Answer:
        part = {"steps": [[value, value]] * steps, "session": session, "end": end}
        part |= {} if at is None else {"at": at}
        response = client.post("/predict", json={"model": "scalar", "sequences": [part]})
        document = response.json()
        entry = document["predictions"][0] if response.status_code == 200 else document
        return response.status_code, entry.get("code", ""), entry.get("step")

    return send


@given(parts=parts)
def test_any_parts_get_the_status_the_code_and_the_step_of_the_real_server(
    server: Server, parts: list[tuple[int | None, float, int, bool]]
) -> None:
    base = "http://fake"
    with httpx.Client(base_url=server.url) as real, httpx.Client(base_url=base, transport=fake()) as other:
        name = str(uuid.uuid4())  # an example may run again
        ask_real, ask_fake = sender(real, name), sender(other, name)
        for part in parts:
            assert ask_fake(*part) == ask_real(*part)


def test_sessions_as_resources() -> None:
    client = Client(transport=fake())
    session = client.session("a")
    session.step([[1, 1], [2, 2]])
    exported = session.export()
    assert client.import_session("b", exported).step([1, 1]).output == 8
    assert session.fork("c").at == 2
    assert [each.session for each in client.sessions()] == ["a", "b", "c"]
    assert [each.session for each in client.sessions(model="other")] == []
    assert client.create_session("d", step=5).at == 5
    assert session.set_ttl(60).expires_in_s == 60
    with pytest.raises(BadExport):
        client.import_session("e", b"no export")
    session.delete()
    assert client.session("a").locate() == 0


def test_a_classifier_has_labels() -> None:
    def choose(x: Array, state: Any) -> tuple[Array, Any]:
        return np.stack([1 - x, x], axis=-1), state

    client = Client(transport=FakeServer({"m": FakeModel(choose, labels=("no", "yes"))}))
    prediction = client.predict_one([0.25, 0.75])
    assert (prediction.label, prediction.probability) == ("yes", 0.75)
    assert client.predict_one([0.25, 0.75], returns="all").labels == ("no", "yes")


def test_what_it_refuses_or_does_not_know() -> None:
    server = FakeServer({name: FakeModel(total, dims=(2,)) for name in "ab"})
    client = Client(transport=server)
    with pytest.raises(UnknownModel, match="several models are loaded"):
        client.predict_one([[1, 1]])
    with pytest.raises(UnknownModel):
        client.predict_one([[1, 1]], model="c")
    with pytest.raises(InvalidField):
        client.predict_one([[1, 1, 1]], model="a")
    with pytest.raises(NotFound):
        client.generate("a", model="a")
    assert client.is_ready()


def test_many_arrays_travel_to_it_too() -> None:
    answers = Client(transport=fake()).predict([np.ones((30, 2))] * 100)
    assert {float(answer.output) for answer in answers} == {60.0}


def test_it_serves_both_clients() -> None:
    async def step() -> int | None:
        async with AsyncClient(transport=fake()).session("a") as session:
            return (await session.step([1, 1])).step

    assert asyncio.run(step()) == 1
