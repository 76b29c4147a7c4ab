"""The conformance suite: our server passes it, and a server that breaks the protocol does not."""

import http.server
import json
import threading

import pytest

from tests.conformance import core, extensions
from tests.conformance.__main__ import FAILS, HOLDS, NOT_OFFERED, check, main
from tests.conformance.target import Target
from tests.e2e.server import Server


def test_our_server_holds_every_point(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", server.url, "--model", "vowels"]) == 0, capsys.readouterr().out
    outcomes = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines() if line[:1] in "CSBE")
    points = {point for point, _, _ in (*core.POINTS, *extensions.POINTS)}
    assert outcomes.keys() == points
    assert set(outcomes.values()) == {HOLDS}


class Sloppy(http.server.BaseHTTPRequestHandler):
    """Answers everything with 200 and the same object, and claims every extension."""

    ANSWER = json.dumps(
        {
            "name": "m", "version": "1", "platform": "p",
            "extensions": ["sequence", "sequence(string_id)", "binary_tensor_data", "model_configuration"],
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, -1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 1], "data": [0.5]}],
            "model_name": "m", "id": "a-2", "max_batch_size": 1, "input": [], "output": [],
        }
    ).encode()  # fmt: skip

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.send_header("content-length", str(len(self.ANSWER)))
        self.end_headers()
        self.wfile.write(self.ANSWER)

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


# What a server that accepts everything and computes a constant cannot get wrong.
HARMLESS = {
    "C1", "C2", "C4", "C5", "C6", "C7a", "C7d", "C12", "C13a", "S2b", "S3", "S6", "S7", "S8", "S9", "S10a",
    "S10b", "B3", "B9",
}  # fmt: skip


def test_a_server_that_accepts_everything_fails_all_other_points() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sloppy) as sloppy:
        threading.Thread(target=sloppy.serve_forever).start()
        try:
            url = f"http://127.0.0.1:{sloppy.server_address[1]}"
            target = Target.open(url, "m")
            outcomes = {result.point: result.outcome for result in check(target)}
            target.client.close()
            assert main(["--url", url, "--model", "m"]) == 1
        finally:
            sloppy.shutdown()
    assert {point for point, outcome in outcomes.items() if outcome == HOLDS} == HARMLESS
    assert {point for point, outcome in outcomes.items() if outcome == NOT_OFFERED} == {"C13b", "E2", "E3"}
    assert FAILS in outcomes.values()


def test_a_server_that_cannot_be_checked_is_told_apart(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--url", server.url, "--model", "none"]) == 2
    assert main(["--url", "http://127.0.0.1:1"]) == 2
    assert "does not answer" in capsys.readouterr().out
