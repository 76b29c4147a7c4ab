"""Graphs that people bring: integers, booleans, scalars, several outputs, fixed times, NaN."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.e2e import graphs
from tests.e2e.conftest import predict
from tests.e2e.server import Server, running


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("graphs-models")
    graphs.write_all(root)
    with running(tmp_path_factory.mktemp("graphs"), models_dir=str(root)) as started:
        yield started


@pytest.fixture
def client(kinds: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=kinds.url, timeout=30) as opened:
        yield opened


def answers(client: httpx.Client, model: str, *sequences: Any, **fields: Any) -> list[dict[str, Any]]:
    response = client.post("/predict", json={"model": model, "sequences": sequences} | fields)
    assert response.status_code == 200, response.text
    predictions: list[dict[str, Any]] = response.json()["predictions"]
    return predictions


def fault(response: httpx.Response) -> tuple[int, str, str]:
    problem = response.json()
    return response.status_code, problem["code"], problem["pointer"]


def post(client: httpx.Client, model: str, *sequences: Any, **fields: Any) -> httpx.Response:
    return client.post("/predict", json={"model": model, "sequences": sequences} | fields)


@pytest.mark.parametrize("model", ["look", "open-look"])
def test_one_id_out_of_range_is_its_own_error(client: httpx.Client, model: str) -> None:
    """It failed every request in the same engine call: 115 of 200 good ones were answered 500."""
    first, bad, last = answers(client, model, [0, 1], [7], [3])
    assert (first["output"], last["output"]) == ([[1], [11]], [[1000]])
    assert (bad["error"]["status"], bad["error"]["code"]) == (422, "invalid_field")
    if model == "look":  # it has a `size`; the other's range is known to the graph alone
        assert bad["error"]["pointer"] == "/sequences/1/0"


@pytest.mark.parametrize("model", ["look", "open-look"])
def test_no_request_beside_an_id_out_of_range_fails(kinds: Server, model: str) -> None:
    async def body() -> None:
        limits = httpx.Limits(max_connections=30)
        async with httpx.AsyncClient(base_url=kinds.url, timeout=30, limits=limits) as client:

            async def send(steps: Any) -> httpx.Response:
                return await client.post("/predict", json={"model": model, "sequences": [steps]})

            for turn in range(5):
                session = {"steps": [0, 1, 2], "session": f"{model}-beside"}
                good = [[0, 1, 2]] * 19 + [session]
                *replies, of_session, bad = await asyncio.gather(*map(send, [*good, [2, 7]]))
                assert [r.json()["predictions"][0]["output"] for r in replies] == [[[1], [11], [111]]] * 19
                assert of_session.json()["predictions"][0]["output"][-1] == [111 * (turn + 1)]
                assert bad.status_code == 422

    asyncio.run(body())


@pytest.mark.parametrize("steps", [5, 9])
def test_a_window_has_exactly_its_steps(client: httpx.Client, steps: int) -> None:
    """Any other number of steps was answered 500."""
    days = [[float(day), 0.0] for day in range(7)]
    assert answers(client, "week", days) == [{"output": [3, 0]}]
    wrong = [[1.0, 0.0]] * steps
    response = post(client, "week", {"steps": wrong})
    assert fault(response) == (422, "wrong_shape", "/sequences/0/steps")
    assert "exactly 7 steps" in response.json()["detail"]
    good, bad = answers(client, "week", days, wrong)
    assert good["output"] == [3, 0] and bad["error"]["pointer"] == "/sequences/1"
    assert client.get("/v2/models/week").json()["inputs"][0]["shape"] == [-1, 7, 2]


def test_one_number_a_step_is_a_number(client: httpx.Client) -> None:
    (every,) = answers(client, "scalar", [[1, 1], [1, 1], [0, 3]])
    assert every == {"output": [2, 4, 7]}
    (last,) = answers(client, "scalar", {"steps": [[1, 1], [1, 1]], "session": "level"}, **{"return": "last"})
    assert last == {"output": 4, "session": "level", "step": 2}
    (resumed,) = answers(client, "scalar", {"steps": [[0, 3]], "session": "level"}, **{"return": "last"})
    assert resumed["output"] == 7


def test_what_is_no_number_is_never_a_label(client: httpx.Client) -> None:
    """A row of zeros had the label "a" and the probability null."""
    bad, good = answers(client, "share", [[0, 0, 0]], [[1, 3, 0]])
    assert (bad["error"]["status"], bad["error"]["code"]) == (500, "non_finite_output")
    assert (good["label"], good["probability"]) == ("b", 0.75)
    assert post(client, "share", [[0, 0, 0]]).json()["code"] == "non_finite_output"
    allowed, good = answers(client, "open-share", [[0, 0, 0]], [[1, 3, 0]])
    assert allowed == {"output": [None] * 3} and good["label"] == "b"
    (steps,) = answers(client, "open-share", [[0, 0, 0], [1, 3, 0]], **{"return": "all"})
    assert steps["label"] == [None, "b"] and steps["probability"] == [None, 0.75]


def test_a_step_that_gives_no_number_leaves_the_session_as_it_was(client: httpx.Client) -> None:
    assert predict(client, [[1, 1]], session="refuse").status_code == 404  # several models are loaded
    (first,) = answers(client, "mean", {"steps": [[1, 1]], "session": "refuse"})
    refused = post(client, "mean", {"steps": [[5, -1]], "session": "refuse"})
    assert fault(refused) == (500, "non_finite_output", "/sequences/0")
    (resumed,) = answers(client, "mean", {"steps": [[3, 1]], "session": "refuse", "at": 1})
    assert (first["output"], resumed["output"], resumed["step"]) == ([[1]], [[2]], 2)


def test_a_state_without_numbers_is_shown_exported_imported_and_forked_alike(client: httpx.Client) -> None:
    """Where a manifest allows NaN; the export could not be imported."""
    for x in ([1, 1], [5, -1], [3, 1]):
        (answer,) = answers(client, "open-mean", {"steps": [x], "session": "allow"})
    assert answer["output"] == [[None]] and answer["step"] == 3
    exported = client.get("/sessions/allow/export")
    imported = client.put("/sessions/imported/import", content=exported.content)
    forked = client.post("/sessions/allow/fork", json={"to": "forked"})
    assert (exported.status_code, imported.status_code, forked.status_code) == (200, 201, 201)
    shown = [client.get(f"/sessions/{name}?state=true").json() for name in ("allow", "imported", "forked")]
    assert [session["state"] for session in shown] == [{"mean": [None], "weight": [1]}] * 3
    next_steps = [{"steps": [[1, 1]], "session": name} for name in ("allow", "imported", "forked")]
    assert [entry["output"] for entry in answers(client, "open-mean", *next_steps)] == [[[None]]] * 3


def test_the_outputs_of_a_policy_are_requested_by_name(client: httpx.Client) -> None:
    steps = [[0, 1, 0], [3, 0, 0]]
    assert answers(client, "agent", steps) == [{"output": [1, 0]}]
    (named,) = answers(
        client,
        "agent",
        {"steps": steps, "session": "play"},
        outputs=["value", "action", "odds"],
        **{"return": "last"},
    )
    assert named["outputs"].keys() == {"value", "action", "odds"}
    assert (named["outputs"]["value"], named["outputs"]["action"]) == (4, 0)
    assert (named["label"], named["probability"]) == ("stay", max(named["outputs"]["odds"]))
    unknown = post(client, "agent", steps, outputs=["action", "reward"])
    assert fault(unknown) == (422, "invalid_field", "/outputs/1")
    assert "'action', 'odds', 'value'" in unknown.json()["detail"]
    metadata = client.get("/v2/models/agent").json()
    assert [(o["name"], o["datatype"], o["shape"]) for o in metadata["outputs"]] == [
        ("action", "INT64", [-1, -1]), ("odds", "FP32", [-1, -1, 3]), ("value", "FP32", [-1, -1]),
    ]  # fmt: skip


def test_an_input_without_time_axis_is_given_once_a_session(client: httpx.Client) -> None:
    x = [[1, 2], [3, 4]]
    assert answers(client, "voice", {"steps": {"x": x, "speaker": [10, 1]}}) == [{"output": [[12], [46]]}]
    (first,) = answers(client, "voice", {"steps": {"x": x[:1], "speaker": [10, 1]}, "session": "call"})
    (second,) = answers(client, "voice", {"steps": x[1:], "session": "call"})
    assert (first["output"], second["output"], second["step"]) == ([[12]], [[46]], 2)
    assert fault(post(client, "voice", {"steps": x, "session": "new"})) == (
        422,
        "invalid_field",
        "/sequences/0",
    )
    other = {"steps": {"x": x, "speaker": [0, 1]}, "session": "call"}
    refused = post(client, "voice", other)
    assert refused.status_code == 422 and "differs from that at the start" in refused.json()["detail"]
    assert client.get("/sessions/call?state=true").json()["state"] == {"sum": [46], "speaker": [10, 1]}


def test_booleans_and_bytes_go_in_and_integers_are_kept(client: httpx.Client) -> None:
    steps: dict[str, list[Any]] = {
        "pressed": [[True, True], [True, False]],
        "level": [[200, 50], [255, 255]],
    }
    assert answers(client, "buttons", {"steps": steps}) == [{"output": [[1, 0], [2, 0]]}]
    many = {name: rows * 100 for name, rows in steps.items()}  # a body above 512 bytes
    (last,) = answers(client, "buttons", {"steps": many, "session": "pad"}, **{"return": "last"})
    assert last["output"] == [200, 0]
    assert client.get("/sessions/pad?state=true").json()["state"] == {"count": [200, 0]}
    start = 2**53 + 1
    created = client.put(
        "/sessions/old", json={"model": "buttons", "state": {"count": [start, 0]}, "step": 1}
    )
    assert created.status_code == 201
    (resumed,) = answers(client, "buttons", {"steps": steps, "session": "old"}, **{"return": "last"})
    assert resumed["output"] == [start + 2, 0]
    for name, rows, pointer in (("pressed", [[1, 0]], "/0/0"), ("level", [[1, 256]], "/0/1")):
        wrong = {"pressed": [[True, True]], "level": [[1, 2]]} | {name: rows}
        response = post(client, "buttons", {"steps": wrong})
        assert (response.status_code, response.json()["pointer"]) == (
            422,
            f"/sequences/0/steps/{name}{pointer}",
        )


def test_a_cache_grows_in_a_session_however_it_is_kept_and_moved(client: httpx.Client) -> None:
    expected = [1, 3, 6, 10, 14, 18]
    for step, sum_ in enumerate(expected):
        (answer,) = answers(client, "recent", {"steps": [[step + 1]], "session": "cache", "at": step})
        assert answer["output"] == [[sum_]]
        shown = client.get("/sessions/cache?state=true").json()["state"]["cache"]
        assert shown == [1, 2, 3, 4, 5, 6][max(0, step - 2) : step + 1]
        others = {"state": {"cache": shown}, "model": "recent", "step": step + 1}
        created = client.put(f"/sessions/copied-{step}", json=others)
        exported = client.get("/sessions/cache/export")
        imported = client.put(f"/sessions/moved-{step}/import", content=exported.content)
        forked = client.post("/sessions/cache/fork", json={"to": f"forked-{step}"})
        assert [r.status_code for r in (created, exported, imported, forked)] == [201, 200, 201, 201]
        names = (f"copied-{step}", f"moved-{step}", f"forked-{step}")
        same = answers(client, "recent", *({"steps": [[10]], "session": name} for name in names))
        assert [entry["output"] for entry in same] == [[[sum(shown) + 10]]] * 3
    (whole,) = answers(client, "recent", [[1], [2], [3], [4], [5], [6]])
    assert whole["output"] == [[sum_] for sum_ in expected]


@pytest.mark.parametrize(
    ("model", "pieces", "outputs"),
    [
        ("recent", [[[1]], [[2], [3]], [[4]], [[5], [6]]], [[[1]], [[3], [6]], [[10]], [[14], [18]]]),
        ("look", [[0], [1, 2], [2]], [[[1]], [[11], [111]], [[211]]]),
        ("voice", [{"x": [[1, 2]], "speaker": [10, 1]}, [[3, 4]]], [[[12]], [[46]]]),
        ("buttons", [{"pressed": [[True, True]] * 2, "level": [[200, 50]] * 2}] * 2,
         [[[1, 0], [2, 0]], [[3, 0], [4, 0]]]),
    ],
)  # fmt: skip
def test_a_client_keeps_caches_integers_and_inputs_given_once(
    client: httpx.Client, model: str, pieces: list[Any], outputs: list[Any]
) -> None:
    token = None
    for steps, output in zip(pieces, outputs, strict=True):
        sequence = {"steps": steps, "state": token}
        (answer,) = answers(client, model, sequence, return_state=True, **{"return": "all"})
        assert answer["output"] == output
        token = answer["state"]


def test_sessions_of_different_age_are_batched_by_the_size_of_their_caches(client: httpx.Client) -> None:
    for age in range(6):
        sent = [[1]] * (age + 1)
        answers(client, "recent", {"steps": sent, "session": f"age-{age}"})
    together = answers(client, "recent", *({"steps": [[5]], "session": f"age-{age}"} for age in range(6)))
    assert [entry["output"] for entry in together] == [[[6]], [[7]], [[8]], [[8]], [[8]], [[8]]]


def test_a_cache_that_a_client_sends_has_at_most_its_entries(client: httpx.Client) -> None:
    for cache, status in (([], 201), ([1, 2, 3], 201), ([1, 2, 3, 4], 422), ([[1]], 422)):
        fields = {"model": "recent", "state": {"cache": cache}, "step": 3}
        response = client.put(f"/sessions/sent-{len(cache)}-{status}", json=fields)
        assert response.status_code == status, response.text


def test_v2_has_every_datatype_and_output(client: httpx.Client) -> None:
    inputs = [
        {"name": "pressed", "datatype": "BOOL", "shape": [1, 2, 2], "data": [True, True, True, False]},
        {"name": "level", "datatype": "UINT8", "shape": [1, 2, 2], "data": [200, 50, 255, 255]},
    ]
    reply = client.post("/v2/models/buttons/infer", json={"inputs": inputs}).json()
    assert reply["outputs"] == [
        {"name": "count_out", "datatype": "INT64", "shape": [1, 2, 2], "data": [1, 0, 2, 0]}
    ]
    scores = np.array([[[0, 1, 0], [3, 0, 0]]], np.float32)
    tensor = {"name": "scores", "datatype": "FP32", "shape": scores.shape, "data": scores.ravel().tolist()}
    every = client.post("/v2/models/agent/infer", json={"inputs": [tensor]}).json()["outputs"]
    assert [(o["name"], o["datatype"], o["shape"]) for o in every] == [
        ("action", "INT64", [1, 2]), ("odds", "FP32", [1, 2, 3]), ("value", "FP32", [1, 2]),
    ]  # fmt: skip
    assert every[0]["data"] == [1, 0] and every[2]["data"] == [1, 4]
    start = {"sequence_id": 9, "sequence_start": True, "return": "last"}
    requested = {"inputs": [tensor], "outputs": [{"name": "value"}, {"name": "action"}], "parameters": start}
    some = client.post("/v2/models/agent/infer", json=requested).json()["outputs"]
    assert [(o["name"], o["shape"], o["data"]) for o in some] == [
        ("value", [1, 1], [4]),
        ("action", [1, 1], [0]),
    ]
