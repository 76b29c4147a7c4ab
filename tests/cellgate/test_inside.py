"""States and gates in replies: typed, the same for requests, sessions and streams, sync and async."""

import asyncio

import numpy as np
import pytest

from cellgate import AsyncClient, Client
from cellgate.errors import BadReply, GatesNotSupported, InvalidField
from cellgate.inside import gates_in, states_in
from cellgate.models import ReturnWord
from cellgate.testing import FakeModel, FakeServer
from tests.e2e.server import Server

X = np.array([[1.0, 2.0], [3.0, 5.0]], np.float32)
ALL: tuple[ReturnWord, ...] = ("output", "state", "gates", "all")


def test_a_prediction_has_what_was_requested(client: Client) -> None:
    whole = client.predict_one(X, model="gated", returns=ALL)
    np.testing.assert_array_equal(whole.output, np.cumsum(X, axis=0))
    assert whole.states is not None and whole.gates is not None
    np.testing.assert_array_equal(whole.states["h"], np.cumsum(X, axis=0))
    opened, shut = whole.gates
    assert [(gate.name, gate.layer, gate.direction) for gate in (opened, shut)] == [
        ("open", 0, "forward"),
        ("shut", 0, "forward"),
    ]
    np.testing.assert_array_equal(opened.values, X)
    np.testing.assert_array_equal(shut.values, -X)
    last = client.predict([X, X[:1]], model="gated", returns=["gates", "last"])
    assert [each.gates[0].values.tolist() for each in last if each.gates] == [[3, 5], [1, 2]]
    assert last[0].states is None and not last[0].outputs and "label" not in repr(last[0])
    with pytest.raises(LookupError, match='add "output" to returns'):
        _ = last[0].output
    plain = client.predict_one(X, model="gated")
    assert plain.states is None and plain.gates is None


def test_sessions_and_streams_have_it_too(client: Client, name: str) -> None:
    with client.session(name, model="gated") as session:
        part = session.step(X, returns=["state", "gates", "last"])
        assert part.step == 2 and part.states is not None
        assert part.states["h"].tolist() == [4, 7]
    with client.stream(
        f"{name}-stream", model="gated", returns=["output", "state", "gates", "last"]
    ) as stream:
        for row in X:
            part = stream.step(row)
            assert part.states is not None and part.gates is not None
            assert part.states["h"].tolist() == part.output.tolist()
            assert part.gates[1].values.tolist() == [-number for number in row.tolist()]


def test_the_asynchronous_client_is_the_same(server: Server) -> None:
    async def body() -> None:
        async with AsyncClient(server.url) as client:
            one = await client.predict_one(X, model="gated", returns=["gates", "all"])
            assert one.gates is not None and one.gates[0].values.shape == (2, 2)

    asyncio.run(body())


def test_a_model_without_gates_is_an_error_of_its_own(client: Client) -> None:
    with pytest.raises(GatesNotSupported) as raised:
        client.predict_one(X.repeat(6, axis=1), model="vowels", returns=["output", "gates"])
    assert raised.value.pointer == "/return/1"


def test_the_fake_server_has_outputs_alone() -> None:
    model = FakeModel(lambda x, state: (x, state), dims=(2,))
    with Client(transport=FakeServer({"m": model})) as client, pytest.raises(InvalidField):
        client.predict_one(X, model="m", returns=["output", "state"])


def test_what_is_no_gate_is_a_bad_reply() -> None:
    assert gates_in({}) is None and states_in({}) is None
    with pytest.raises(BadReply):
        gates_in({"gates": [{"gate": "open"}]})
    grown = states_in({"states": {"cache": [[[1.0]], [[1.0], [2.0]]], "odd": [None, 1.0]}})
    assert grown is not None
    assert [each.shape for each in grown["cache"]] == [(1, 1), (2, 1)] and np.isnan(grown["odd"][0])
