"""Cross-origin requests: which pages may call, and which responses they may read."""

import pytest

from service.errors import BadRequest
from service.http.cors import Cors
from service.http.messages import Headers, Request

PAGE = b"https://app.example.org"
CORS = Cors([PAGE.decode()])


def preflight(cors: Cors, origin: bytes = PAGE, method: bytes = b"POST", headers: bytes = b"") -> Headers:
    sent = [(b"origin", origin), (b"access-control-request-method", method)]
    if headers:
        sent.append((b"access-control-request-headers", headers))
    response = cors.preflight(Request("OPTIONS", "/predict", sent))
    assert response is not None and (response.status, response.body) == (204, b"")
    return response.headers


def test_a_preflight_allows_methods_and_the_headers_that_are_asked_for() -> None:
    headers = dict(preflight(CORS, headers=b"content-type, x-api-key"))
    assert b"DELETE" in headers[b"access-control-allow-methods"]
    assert headers[b"access-control-allow-headers"] == b"content-type, x-api-key"
    assert b"access-control-allow-headers" not in dict(preflight(CORS))


@pytest.mark.parametrize(
    ("origin", "method"), [(b"https://evil.example", b"POST"), (PAGE, b"TRACE"), (PAGE, b"G")]
)
def test_other_origins_and_methods_are_refused(origin: bytes, method: bytes) -> None:
    with pytest.raises(BadRequest):
        preflight(CORS, origin, method)


def test_what_is_no_preflight_is_answered_by_the_routes() -> None:
    asks = (b"access-control-request-method", b"POST")
    for request in (
        Request("POST", "/predict", [(b"origin", PAGE), asks]),
        Request("OPTIONS", "/predict", [(b"origin", PAGE)]),
        Request("OPTIONS", "/predict", [asks]),
    ):
        assert CORS.preflight(request) is None


def mark(cors: Cors, *request: tuple[bytes, bytes]) -> dict[bytes, bytes]:
    response: Headers = []
    cors.mark(list(request), response)
    return dict(response)


def test_a_response_names_the_origin_that_may_read_it() -> None:
    allowed = mark(CORS, (b"origin", PAGE))
    assert allowed[b"access-control-allow-origin"] == PAGE and allowed[b"vary"] == b"origin"
    assert b"X-Request-ID" in allowed[b"access-control-expose-headers"]
    for other in (mark(CORS, (b"origin", PAGE + b".evil.example")), mark(CORS)):
        assert other == {b"vary": b"origin"}, "caches must tell origins apart"


def test_any_origin_may_be_allowed() -> None:
    anyone = Cors(["*"])
    assert mark(anyone, (b"origin", b"null"))[b"access-control-allow-origin"] == b"*"
    assert mark(anyone) == {}, "the response is the same for all"
    assert preflight(anyone, b"https://any.example")
