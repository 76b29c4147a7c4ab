"""An ASGI application called as a handler."""

import asyncio

import pytest

from service.http.fastapi_bridge import ApplicationHandler, Receive, Scope, Send
from service.http.messages import Request, Response


def call(handler: ApplicationHandler, request: Request) -> Response:
    return asyncio.run(handler(request))


def test_the_application_sees_the_request_and_its_response_has_a_length() -> None:
    seen: list[Scope] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        message = await receive()
        await send({"type": "http.response.start", "status": 201, "headers": [(b"x-app", b"yes")]})
        await send({"type": "http.response.body", "body": message["body"], "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})

    request = Request("PUT", "/a b", [(b"host", b"x")], b"body", query=b"q=1", id=b"r-1", tenant="acme")
    response = call(ApplicationHandler(application), request)
    assert (response.status, response.body) == (201, b"body!")
    assert response.headers == [(b"x-app", b"yes"), (b"content-length", b"5")]
    (scope,) = seen
    assert (scope["method"], scope["path"], scope["query_string"]) == ("PUT", "/a b", b"q=1")
    assert scope["state"] == {"tenant": "acme", "request_id": "r-1"}


@pytest.mark.parametrize(("raw", "expected"), [("/a%2Fb", b"/ml/a%2Fb"), ("", b"/ml/a/b%20c")])
def test_the_application_sees_the_path_as_it_was_encoded(raw: str, expected: bytes) -> None:
    seen: list[bytes] = []

    async def application(scope: Scope, _receive: Receive, send: Send) -> None:
        seen.append(scope["raw_path"])
        await send({"type": "http.response.start", "status": 200})

    call(ApplicationHandler(application, root_path="/ml"), Request("GET", "/a/b c", [], raw_path=raw))
    assert seen == [expected]


def test_a_head_is_answered_as_a_get() -> None:
    """The gate leaves the body out, so that every GET has a HEAD."""

    async def application(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": scope["method"].encode()})

    assert call(ApplicationHandler(application), Request("HEAD", "/", [])).body == b"GET"


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_without_a_body_has_no_length(status: int) -> None:
    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body"})

    assert call(ApplicationHandler(application), Request("GET", "/", [])).headers == []


def test_what_the_application_raises_comes_out() -> None:
    async def application(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(ApplicationHandler(application), Request("GET", "/", []))


def test_the_body_comes_once_and_then_the_application_waits_for_a_disconnect() -> None:
    async def application(_scope: Scope, receive: Receive, _send: Send) -> None:
        await receive()
        await asyncio.wait_for(receive(), 0.01)

    with pytest.raises(TimeoutError):
        call(ApplicationHandler(application), Request("GET", "/", []))


def location_of(handler_prefix: str, location: bytes) -> bytes:
    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 307, "headers": [(b"location", location)]})
        await send({"type": "http.response.body"})

    handler = ApplicationHandler(application, root_path=handler_prefix)
    return dict(call(handler, Request("GET", "/models/", [])).headers)[b"location"]


def test_a_redirect_names_no_scheme_and_no_host() -> None:
    """Behind a proxy with TLS, those that the server sees are not those that the client has used."""
    assert location_of("", b"http://inner:8000/models?a=1") == b"/models?a=1"
    assert location_of("/ml", b"/ml/docs") == b"/ml/docs"


@pytest.mark.parametrize(
    ("reads_prefix", "headers", "root_path"),
    [
        (False, [b"/other"], "/ml"),
        (True, [], "/ml"),
        (True, [b"/other"], "/other"),
        (True, [b"/team/ml/"], "/team/ml"),
        (True, [b"/a, /b"], "/a/b"),
        (True, [b"/a", b"/b"], "/a/b"),
        (True, [b"/"], "/ml"),
        (True, [b"//evil.example"], "/ml"),
        (True, [b"https://evil.example"], "/ml"),
        (True, [b"/a\xff<script>"], "/ml"),
    ],
)
def test_the_prefix_is_the_setting_or_what_a_trusted_proxy_says(
    reads_prefix: bool, headers: list[bytes], root_path: str
) -> None:
    seen: list[Scope] = []

    async def application(scope: Scope, _receive: Receive, send: Send) -> None:
        seen.append(scope)
        await send({"type": "http.response.start", "status": 204})

    handler = ApplicationHandler(application, root_path="/ml", reads_prefix=reads_prefix)
    call(handler, Request("GET", "/models", [(b"x-forwarded-prefix", value) for value in headers]))
    assert (seen[0]["root_path"], seen[0]["path"]) == (root_path, f"{root_path}/models")
