"""The heads of requests: one valid Host. Their size and time are tested with the life of a connection."""

import pytest

from tests.service.http.wire import HEAD, App, echoed, post, serve

HOSTS = {
    "two": b"Host: a\r\nHost: a\r\n",
    "none": b"",
    "a path": b"Host: a/b\r\n",
    "a space": b"Host: a b\r\n",
    "a list": b"Host: a, b\r\n",
}


@pytest.mark.parametrize("hosts", HOSTS.values(), ids=HOSTS)
@pytest.mark.parametrize("target", [b"/predict", b"/predict?x=1"], ids=["fast path", "by ASGI"])
def test_a_request_has_one_valid_host(target: bytes, hosts: bytes) -> None:
    request_ = b"POST %b HTTP/1.1\r\n%bContent-Length: 2\r\n\r\nok"
    app = App()
    refused, end, *rest = serve(app, request_ % (target, hosts) + post(b"no"), post(b"no"))
    assert refused.startswith(b"HTTP/1.1 400 ") and b'"code":"bad_http"' in refused
    assert end == b"<eof>" and not rest and app.by_asgi == []


@pytest.mark.parametrize("host", [b"", b"a", b"A-b.example:8000", b"[::1]:80", b"127.0.0.1:0"])
def test_hosts_that_are_valid(host: bytes) -> None:
    request_ = b"POST /predict HTTP/1.1\r\nHost: %b\r\nContent-Length: 2\r\n\r\nok" % host
    assert serve(App(), request_)[0].endswith(b"\r\n\r\nok")


def test_http_1_0_needs_no_host() -> None:
    assert serve(App(), b"POST /predict HTTP/1.0\r\nContent-Length: 2\r\n\r\nok")[0].endswith(b"\r\n\r\nok")


def test_each_head_has_its_own_host_and_trailers_have_none() -> None:
    trailers = b"2\r\nok\r\n0\r\nHost: a/b\r\n\r\n"
    chunked = HEAD % (b"/predict", 1, b"Transfer-Encoding: chunked\r\n") + trailers
    written = serve(App(), chunked + post(b"ok", 2), post(b"ok", 3).replace(b"Host: x", b"Host: a/b"))
    assert written[:2] == [echoed(b"ok", 1), echoed(b"ok", 2)]
    assert written[2].startswith(b"HTTP/1.1 400 ")
