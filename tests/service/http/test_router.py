"""Which handler answers a path, and what the gate checks before it."""

import asyncio
from typing import Any, cast
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import InvalidField
from service.http.body import check_json_type, check_nothing, check_tensor_type
from service.http.dialects import PROBLEM, V2
from service.http.messages import Request, Response
from service.http.router import MISPLACED, Handler, Router, check_query
from service.predict import Idempotency, Reply
from service.sessions.store import Limits
from service.sessions.store.memory import MemoryStore
from tests.service.http.gates import FakePredictor, echo


async def application(_: Request) -> Response:
    return Response(204, [], b"")


def router(predictor: object = None) -> Router:
    part = cast(Any, FakePredictor(echo))
    return Router(part, part, cast(Any, predictor) or part, application)


@pytest.mark.parametrize("path", ["/predict", "/generate"])
def test_predict_and_generate_read_json(path: str) -> None:
    route = router().find("POST", path)
    assert route.is_inference and route.check_type is check_json_type and route.dialect is PROBLEM
    assert route.reads_body and route.needs_key
    assert not route.answers_while_draining


@pytest.mark.parametrize("path", ["/v2/models/a/infer", "/v2/models/a/versions/2/infer"])
def test_infer_reads_json_and_tensors(path: str) -> None:
    route = router().find("POST", path)
    assert route.is_inference and route.check_type is check_tensor_type and route.dialect is V2
    assert route.reads_body and route.needs_key and not route.answers_while_draining


@pytest.mark.parametrize("session", ["call-42", "v2/vowels/s/x", "export"])
def test_a_forecast_is_of_the_session_in_its_path(session: str) -> None:
    forecaster = FakeForecaster()
    part = cast(Any, FakePredictor(echo))
    router = Router(part, part, part, application, forecaster=cast(Any, forecaster))
    path = f"/sessions/{session}/forecast"
    route = router.find("POST", path)
    assert (route.name, route.is_inference) == ("/sessions/{session}/forecast", True)

    async def call(query: bytes) -> Response:
        return await route.handler(Request("POST", path, [], b"{}", query=query, tenant="acme"))

    response = asyncio.run(call(b""))
    assert (response.status, forecaster.calls) == (200, [(session, b"{}", "acme")])
    assert router.find("GET", path).handler is application
    with pytest.raises(InvalidField, match="'at' is not read"):
        asyncio.run(call(b"at=3"))


class FakeForecaster:
    """Notes what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes, str]] = []

    async def forecast(self, session: str, body: bytes, *, tenant: str = "") -> Reply:
        self.calls.append((session, body, tenant))
        return Reply(b"{}")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/predict"),
        ("POST", "/predict/"),
        ("POST", "/predictions"),
        ("POST", "/v2/models/a/infer/"),
        ("POST", "/v2/models/a/b/infer"),
        ("POST", "/v2/models//infer"),
        ("POST", "/x/v2/models/a/infer"),
    ],
)
def test_every_other_path_is_the_applications(method: str, path: str) -> None:
    route = router().find(method, path)
    assert route.handler is application and not route.is_inference and route.check_type is check_nothing


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "GET", "HEAD", "DELETE", "OPTIONS"])
def test_a_body_is_read_where_the_method_has_one(method: str) -> None:
    assert router().find(method, "/sessions/s").reads_body is (method in ("POST", "PUT", "PATCH"))


@pytest.mark.parametrize(
    ("path", "needs_key", "answers_while_draining"),
    [
        ("/health/live", False, True),
        ("/v2/health/ready", False, True),
        ("/v2/models/a/ready", False, False),
        ("/v2/models/a/versions/2/ready", False, False),
        ("/docs", False, False),
        ("/swagger/swagger-ui.css", False, False),
        ("/openapi.json", False, False),
        ("/openapi.json/x", True, False),
        ("/models", True, False),
        ("/sessions/health/live", True, False),
        ("/v2/models/a", True, False),
    ],
)
def test_which_paths_need_no_key_and_which_answer_while_draining(
    path: str, needs_key: bool, answers_while_draining: bool
) -> None:
    route = router().find("GET", path)
    assert (route.needs_key, route.answers_while_draining) == (needs_key, answers_while_draining)


async def _call(handler: Handler, request: Request) -> Response:
    return await handler(request)


class FakeOpenInference:
    """Records what it is asked, and answers with tensors after 2 bytes of JSON."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    async def infer(self, *arguments: object) -> Reply:
        self.asked.append(arguments)
        return Reply(b"{}\0\0\0\0", "a", "2", 1, 3, json_length=2)


def test_infer_gets_model_version_headers_body_and_tenant_and_names_the_length_of_its_json() -> None:
    inference = FakeOpenInference()
    route = router(inference).find("POST", "/v2/models/a/versions/2/infer")
    request = Request("POST", "", [(b"x", b"y")], b"body", tenant="acme")
    response = asyncio.run(_call(route.handler, request))
    assert inference.asked == [("a", "2", {b"x": b"y"}, b"body", "acme")]
    assert response.headers == [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", b"6"),
        (b"inference-header-content-length", b"2"),
    ]
    assert response.log == {"model": "a", "version": "2", "sequences": 1, "steps": 3}


@pytest.mark.parametrize("needs_key", [True, False])
def test_metrics_need_a_key_by_choice_and_are_answered_while_draining(needs_key: bool) -> None:
    part = cast(Any, FakePredictor(echo))
    route = Router(part, part, part, application, metrics_need_key=needs_key).find("GET", "/metrics")
    assert route.needs_key is needs_key and route.answers_while_draining
    assert Router(part, part, part, application, metrics_need_key=False).find("GET", "/metrics/x").needs_key


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("/ml/predict", "/predict"),
        ("/predict", "/predict"),
        ("/ml", "/"),
        ("/ml/", "/"),
        ("/mlx", "/mlx"),
        ("/", "/"),
        ("/ml/ml/a", "/ml/a"),
    ],
)
def test_a_path_may_have_the_prefix_or_not(path: str, local: str) -> None:
    part = cast(Any, FakePredictor(echo))
    assert Router(part, part, part, application, root_path="/ml").local(path) == local
    assert router().local(path) == path


async def call(handler: Handler, request: Request) -> Response:
    return await handler(request)


@pytest.mark.parametrize("path", ["/predict", "/generate"])
def test_a_key_makes_one_run_of_a_request_and_is_ignored_without_a_store(path: str) -> None:
    runs: list[tuple[str, bool]] = []

    async def answer(body: bytes) -> Reply:
        return Reply(b"%b %d" % (body, len(runs)))

    class Keyed(FakePredictor):
        async def predict(self, body: bytes, *, tenant: str = "", is_keyed: bool = False) -> Reply:
            runs.append((tenant, is_keyed))
            return await self.answer(body)

        generate = predict

    def ask(idempotency: Idempotency | None) -> tuple[bytes, bytes | None]:
        part = cast(Any, Keyed(answer))
        route = Router(part, part, part, application, idempotency=idempotency).find("POST", path)
        gate_request = Request("POST", path, [], b"body", idempotency_key=b"k")
        response = asyncio.run(call(route.handler, gate_request))
        return response.body, dict(response.headers).get(b"idempotent-replayed")

    store = MemoryStore(Limits())
    keys = [Idempotency(store, ttl_s=100, timeout_s=5, clock=lambda: 1e6) for _ in range(2)]
    assert [ask(each) for each in keys] == [(b"body 1", None), (b"body 1", b"true")]
    assert ask(None) == (b"body 2", None) and runs == [("", True), ("", False)]


@given(st.binary(max_size=30))
@example(b"%C2%AA=%FF&\xaa=\xff")
def test_a_query_of_any_bytes_is_read(query: bytes) -> None:
    """It was a 500 where a name or a value was not ASCII."""
    try:
        check_query(query)
    except InvalidField:
        assert any(name.encode() in unquote_to_bytes(query) for name in MISPLACED)


@pytest.mark.parametrize("query", [b"version=1", b"a=b&version", b"%76ersion=1", b"model=x", b"at=0"])
def test_a_query_that_seems_to_choose_the_answer_is_refused(query: bytes) -> None:
    with pytest.raises(InvalidField, match="is not read"):
        check_query(query)
