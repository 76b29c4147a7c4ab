"""Checkpoints of a real server: rewind, replay and fork, through `kill -9`."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.committed import ROOT
from tests.docs.blocks import steps
from tests.e2e.conftest import first, predict
from tests.e2e.server import Server, running

Steps = list[list[float]]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two workers that the tests kill and start again."""
    with running(tmp_path_factory.mktemp("checkpoints"), workers="2") as started:
        yield started


def call(server: Server, method: str, path: str, **body: Any) -> dict[str, Any]:
    """The reply of one request on a new connection."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        response = client.request(method, path, json=body or None)
    assert response.status_code < 300, response.text
    reply: dict[str, Any] = response.json()
    return reply


def replay(server: Server, session: str, steps: Steps, at: int, **fields: Any) -> list[Any]:
    """The outputs after each step from `at` on."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        return [
            first(predict(client, [steps[step]], session=session, at=step, **fields))["output"]
            for step in range(at, len(steps))
        ]


@pytest.mark.promise(12)
def test_a_rewind_and_a_replay_give_the_same_bits_through_kill_9(
    killed: Server, utterance: Steps, session: str
) -> None:
    sent = utterance[:9]
    call(killed, "PUT", f"/sessions/{session}", model="vowels", history={"last": 6})
    original = replay(killed, session, sent, 0, rewinds=0)
    killed.kill()
    killed.start()
    rewind = {"step": 4, "at": 9, "rewinds": 0}
    rewound = call(killed, "POST", f"/sessions/{session}/rewind", **rewind)
    assert (rewound["step"], rewound["rewinds"], rewound["history"]["checkpoints"]) == (4, 1, [3])
    killed.kill()  # as if the reply had been lost
    killed.start()
    again = call(killed, "POST", f"/sessions/{session}/rewind", **rewind)
    assert (again["step"], again["rewinds"]) == (4, 1)
    assert replay(killed, session, sent, 4, rewinds=1) == original[4:]
    with httpx.Client(base_url=killed.url, timeout=30) as client:
        late = client.post(f"/sessions/{session}/rewind", json=rewind)
        assert (late.status_code, late.json()["code"]) == (409, "session_conflict")
        other = client.post(f"/sessions/{session}/rewind", json={"step": 2})
        assert (other.status_code, other.json()["code"]) == (409, "unknown_checkpoint")
        assert other.json()["kept"] == [3, 4, 5, 6, 7, 8, 9]
        before = predict(client, [sent[4]], session=session, at=9, rewinds=0)
        assert (before.status_code, before.json()["rewinds"]) == (409, 1)


@pytest.mark.promise(12)
def test_a_fork_at_a_step_within_a_request_continues_with_the_same_bits(
    killed: Server, utterance: Steps, session: str
) -> None:
    steps = utterance[:12]
    with httpx.Client(base_url=killed.url, timeout=30) as client:
        whole = client.post("/predict", json={"sequences": [steps], "return": "all"}).json()
        call(killed, "PUT", f"/sessions/{session}", model="vowels", history={"last": 3, "every": 5})
        first(predict(client, steps, session=session, at=0))
        shown = client.get(f"/sessions/{session}").json()
    assert shown["history"] == {"last": 3, "every": 5, "checkpoints": [0, 5, 10], "bytes": 3 * 1024}
    forked = call(killed, "POST", f"/sessions/{session}/fork", to="forked", at=5)
    assert (forked["step"], forked["history"]["checkpoints"]) == (5, [0])
    assert replay(killed, "forked", steps, 5) == whole["predictions"][0]["output"][5:]


def test_the_commands_of_the_page_work_as_typed(killed: Server, utterance: Steps) -> None:
    keep, rewind = steps(ROOT / "docs/checkpoints.md")
    typed = [
        each.text.replace("localhost:8000", killed.url.removeprefix("http://")) for each in (keep, rewind)
    ]
    subprocess.run(["bash", "-euc", typed[0]], check=True, timeout=60)
    replay(killed, "gauge-7", utterance[:14], 0)
    done = subprocess.run(["bash", "-euc", typed[1]], check=True, timeout=60, capture_output=True)
    rewound = json.loads(done.stdout)
    assert (rewound["step"], rewound["rewinds"]) == (9, 1)
