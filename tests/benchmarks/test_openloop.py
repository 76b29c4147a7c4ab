"""The open-loop generator measures latency from the time a request is due, which a closed loop cannot."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.openloop import NO_ANSWER, NOT_SENT, Due, overload, payload, percentile_ms, run, schedule

QUICK = payload("/", b"{}")
STALL_S = 0.3


class Stalling(http.server.BaseHTTPRequestHandler):
    """Answers at once, except on `/stall` and `/break`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/stall":
            threading.Event().wait(STALL_S)
        if self.path == "/break":
            self.close_connection = True
            return
        self.send_response(503 if self.path == "/full" else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stalling) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_latency_behind_a_stall_counts_from_the_due_time() -> None:
    dues = [Due(0.0, payload("/stall", b"{}"), "slow"), *(Due(0.01 * n, QUICK, "quick") for n in (1, 2, 3))]
    with serving() as port:
        answers = run(port, dues, connections=1)
    assert [answer.status for answer in answers] == [200] * 4
    quick = [answer.latency_s for answer in answers if answer.kind == "quick"]
    assert all(latency > STALL_S - 0.05 for latency in quick)


def test_a_second_connection_does_not_wait() -> None:
    dues = [Due(0.0, payload("/stall", b"{}"), "slow"), Due(0.01, QUICK, "quick")]
    with serving() as port:
        first, second = run(port, dues, connections=2)
    assert (first.kind, second.kind) == ("quick", "slow"), "in the order of the replies"


def test_refused_and_broken_requests_count_as_infinite() -> None:
    dues = [Due(0.01 * n, payload(path, b"{}"), path) for n, path in enumerate(["/", "/full", "/break"])]
    with serving() as port:
        answers = run(port, dues, connections=3)
    assert {answer.kind: answer.status for answer in answers} == {"/": 200, "/full": 503, "/break": NO_ANSWER}
    assert percentile_ms(answers, "/", 99) < float("inf")
    assert percentile_ms(answers, "/full", 50) == percentile_ms(answers, "/break", 50) == float("inf")


def test_an_overload_sends_nothing_while_all_connections_are_busy() -> None:
    dues = [Due(0.0, payload("/stall", b"{}"), "slow"), Due(0.05, QUICK, "quick")]
    with serving() as port:
        answers = overload(port, dues, connections=1)
    assert {answer.kind: answer.status for answer in answers} == {"slow": 200, "quick": NOT_SENT}


def test_the_schedule_is_repeatable_and_has_the_rate() -> None:
    kinds = [("short", 0.9, [b"a", b"b"]), ("long", 0.1, [b"c"])]
    dues = schedule(kinds, rate=100, seconds=50)
    assert dues == schedule(kinds, rate=100, seconds=50)
    assert len(dues) == 5000
    assert dues[-1].at_s == pytest.approx(50, rel=0.05)
    assert sum(due.kind == "short" for due in dues) / len(dues) == pytest.approx(0.9, abs=0.02)
    assert all(due.payload in ((b"a", b"b") if due.kind == "short" else (b"c",)) for due in dues)
