"""Which failures are tried again, how long a client waits, and that it ends."""

import asyncio
import ssl
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellgate import AsyncClient, CellgateError, Client, ConnectionFailed, Settings, Unavailable
from cellgate.core import Timing
from cellgate.errors import BadReply, DeadlineExceeded, Overloaded, ReplyTimeout, SessionQuota
from cellgate.retry import Retry
from cellgate.testing import Fault
from tests.cellgate.fakes import SleepyClock, client_of, fake_server


def answering(*responses: httpx.Response | Exception, clock: SleepyClock, **options: Any) -> Client:
    """A client whose server gives these answers, and the last one for ever."""
    remaining = list(responses)

    def answer(_request: httpx.Request) -> httpx.Response:
        response = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        if isinstance(response, Exception):
            raise response
        return httpx.Response(response.status_code, content=response.content, headers=response.headers)

    transport = httpx.MockTransport(answer)
    timing = Timing(clock, lambda: 0.5)
    return Client(transport=transport, settings=Settings(**options), sleep=clock.sleep, timing=timing)


NO_MODELS = httpx.Response(200, json={"models": []})
PROBLEM = {"title": "t", "detail": "too many", "code": "overloaded", "status": 503}


def test_the_wait_is_what_the_server_asks_for_and_a_random_part() -> None:
    clock = SleepyClock()
    busy = httpx.Response(503, json=PROBLEM, headers={"retry-after": "2"})
    client = answering(busy, busy, NO_MODELS, clock=clock, first_backoff_s=0.1)
    assert client.models() == ()
    assert clock.waits == [2.05, 2.1]


def test_without_such_a_wish_the_wait_doubles_up_to_its_bound() -> None:
    clock = SleepyClock()
    client = answering(httpx.ConnectError("refused"), clock=clock, max_backoff_s=2, max_retry_s=10)
    with pytest.raises(ConnectionFailed, match="ConnectError: refused"):
        client.models()
    assert clock.waits[:6] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0]
    assert sum(clock.waits) < 10


@given(attempt=st.integers(1, 10**6), elapsed=st.floats(0, 100), asked=st.none() | st.floats(0, 1e9))
def test_no_attempt_begins_after_the_bound(attempt: int, elapsed: float, asked: float | None) -> None:
    settings = Settings(max_retry_s=60)
    wait_s = Retry(settings, chance=lambda: 0.999).wait_s(attempt, elapsed, asked)
    assert wait_s is None or ((asked or 0) <= wait_s and elapsed + wait_s < 60)


def test_without_retries_the_first_failure_is_raised() -> None:
    clock = SleepyClock()
    with pytest.raises(Unavailable):
        answering(httpx.Response(503, json=PROBLEM), clock=clock, max_retry_s=0).models()
    assert clock.waits == []


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (httpx.Response(503, json=PROBLEM), Overloaded),
        (httpx.Response(502, text="<html>Bad Gateway</html>"), Unavailable),
        (httpx.Response(504, text=""), DeadlineExceeded),
        (httpx.Response(429, json={"code": "rate_limited"}, headers={"retry-after": "1"}), CellgateError),
        (httpx.ReadTimeout("silence"), ReplyTimeout),
        (httpx.ReadError("reset"), ConnectionFailed),
        (httpx.RemoteProtocolError("cut off"), ConnectionFailed),
    ],
)
def test_what_may_pass_is_tried_again(response: httpx.Response | Exception, error: type[Exception]) -> None:
    clock = SleepyClock()
    assert answering(response, NO_MODELS, clock=clock).models() == ()
    assert len(clock.waits) == 1
    with pytest.raises(error):
        answering(response, clock=clock, max_retry_s=5).models()


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (httpx.Response(404, json={"code": "unknown_model", "detail": "no"}), CellgateError),
        (httpx.Response(429, json={"code": "session_quota", "detail": "no"}), SessionQuota),
        (httpx.Response(500, json={"code": "internal", "detail": "no"}), CellgateError),
        (httpx.Response(302, headers={"location": "https://elsewhere"}), BadReply),
        (httpx.Response(200, text="not JSON"), BadReply),
        (httpx.Response(200, json={"other": 1}), BadReply),
        (httpx.UnsupportedProtocol("no such scheme"), CellgateError),
    ],
)
def test_what_cannot_pass_is_raised_at_once(
    response: httpx.Response | Exception, error: type[Exception]
) -> None:
    clock = SleepyClock()
    with pytest.raises(error):
        answering(response, clock=clock).models()
    assert clock.waits == []


def test_a_certificate_that_is_not_trusted_is_raised_at_once() -> None:
    refused = httpx.ConnectError("certificate verify failed")
    refused.__cause__ = ssl.SSLCertVerificationError("self-signed")
    clock = SleepyClock()
    with pytest.raises(CellgateError, match="certificate verify failed"):
        answering(refused, clock=clock).models()
    assert clock.waits == []


def test_the_asynchronous_client_waits_in_the_event_loop() -> None:
    server = fake_server()
    server.faults.extend([Fault.OVERLOADED, Fault.LOSE_REQUEST])
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def models() -> int:
        async with AsyncClient(transport=server, sleep=sleep) as client:
            return len(await client.models())

    assert asyncio.run(models()) == 1
    assert len(waits) == 2


def test_sequences_that_were_refused_are_sent_again_without_the_others() -> None:
    clock = SleepyClock()
    server = fake_server()
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/predict":
            bodies.append(request.content)
        response = server.handle_request(request)
        if len(bodies) == 1 and request.url.path == "/predict":
            document = response.json()
            document["predictions"][1] = {"error": PROBLEM}
            return httpx.Response(200, json=document)
        return response

    client = Client(transport=httpx.MockTransport(answer), sleep=clock.sleep)
    predictions = client.predict([[[1, 1]], [[2, 2]], [[3, 3]]])
    assert [len(body) > 60 for body in bodies] == [True, False]
    assert b"[[2,2]]" in bodies[1]
    assert predictions[1].output.tolist() == client.predict_one([[2, 2]]).output.tolist()


def test_the_log_says_why_it_waits(caplog: pytest.LogCaptureFixture) -> None:
    server = fake_server()
    server.faults.append(Fault.OVERLOADED)
    with caplog.at_level("INFO", logger="cellgate"):
        client_of(server, SleepyClock()).models()
    assert caplog.messages == ["attempt 1 failed, the next one in 1.05 s: 503 overloaded: fault: overloaded"]
