"""Three replicas that share nothing but a secret serve conversations whose state the clients keep."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.conftest import first
from tests.e2e.server import ROOT, Server, running

KEYS = {"acme": "acme-secret", "beta": "beta-secret"}
SECRET = "0123456789abcdef0123456789abcdef"
HEADERS = {name: {"authorization": f"Bearer {key}"} for name, key in KEYS.items()}
NOTHING_SHARED = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
Steps = list[list[float]]


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    hashes = ",".join(
        f"{name}=sha256:{hashlib.sha256(key.encode()).hexdigest()}" for name, key in KEYS.items()
    )
    shared = {"store": "memory", "keys": hashes, "state_secret": SECRET}
    with (
        running(tmp_path_factory.mktemp("a"), **shared) as a,
        running(tmp_path_factory.mktemp("b"), **shared) as b,
        running(tmp_path_factory.mktemp("c"), **shared) as c,
    ):
        yield [a, b, c]


def post(server: Server, sequence: Any, tenant: str = "acme", **fields: Any) -> httpx.Response:
    body = {"sequences": [sequence], "return_state": True, **fields}
    return httpx.post(f"{server.url}/predict", json=body, headers=HEADERS[tenant], timeout=30)


def code_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


@NOTHING_SHARED
@given(st.sets(st.integers(1, 20)))
def test_any_cut_into_requests_over_replicas_equals_one_shot(
    replicas: list[Server], utterance: Steps, cuts: set[int]
) -> None:
    whole = first(post(replicas[0], utterance, **{"return": "all"}))
    ends = sorted(cuts | {len(utterance)})
    outputs, token, begin = [], None, 0
    for number, end in enumerate(ends):
        sequence = {"steps": utterance[begin:end], "state": token}
        answer = first(post(replicas[number % 3], sequence, **{"return": "all"}))
        assert answer["step"] == end
        outputs += answer["output"]
        token, begin = answer["state"], end
    assert outputs == whole["output"] and token == whole["state"]
    for server in replicas:
        assert httpx.get(f"{server.url}/sessions", headers=HEADERS["acme"]).json()["sessions"] == []


@NOTHING_SHARED
@given(st.data())
def test_a_forged_token_is_never_a_bug_nor_an_answer(
    replicas: list[Server], utterance: Steps, data: st.DataObject
) -> None:
    token = first(post(replicas[0], utterance[:2]))["state"]
    at = data.draw(st.integers(0, len(token) - 1))
    forged = data.draw(
        st.one_of(
            st.text(max_size=50),
            st.text("AZaz09-_", min_size=1400, max_size=1500),
            st.sampled_from("AZaz09-_=+").map(lambda sign: token[:at] + sign + token[at + 1 :]),
            st.just(token[:at]),
            st.just(token + token[at:]),
        )
    )
    if forged != token:
        refused = post(replicas[1], {"steps": utterance[2:], "state": forged})
        assert code_of(refused) == (422, "invalid_state"), refused.text
        assert refused.json()["pointer"] == "/sequences/0/state"


def test_a_token_is_its_tenants_alone(replicas: list[Server], utterance: Steps) -> None:
    token = first(post(replicas[0], utterance[:2]))["state"]
    refused = post(replicas[1], {"steps": utterance[2:], "state": token}, tenant="beta")
    assert code_of(refused) == (422, "invalid_state")
    assert first(post(replicas[1], {"steps": utterance[2:], "state": token}))["step"] == len(utterance)


def test_a_session_of_another_replica_continues_from_a_token(
    replicas: list[Server], utterance: Steps
) -> None:
    """A store is lost, or its sessions have expired: the client's copy begins them again, once."""
    whole = first(post(replicas[0], utterance))
    begun = first(post(replicas[0], {"steps": utterance[:7], "session": "call", "at": 0}))
    sequence = {"steps": utterance[7:], "session": "call", "at": 7, "state": begun["state"]}
    answer = first(post(replicas[1], sequence))
    assert (answer["output"], answer["state"], answer["step"]) == (whole["output"], whole["state"], 20)
    assert first(post(replicas[1], sequence)) == answer, "a retry"
    assert code_of(post(replicas[1], sequence | {"at": None, "steps": utterance[8:]})) == (
        409,
        "session_exists",
    )
    shown = httpx.get(f"{replicas[1].url}/sessions/call", headers=HEADERS["acme"]).json()
    assert shown["step"] == 20
    assert code_of(post(replicas[0], sequence)) == (409, "session_exists"), "it is live there, at step 7"


def test_a_key_stores_the_reply_with_its_token(replicas: list[Server], utterance: Steps) -> None:
    body = {"sequences": [utterance[:3]], "return_state": True}
    headers = HEADERS["acme"] | {"idempotency-key": '"tokens-1"'}
    replies = [
        httpx.post(f"{replicas[0].url}/predict", json=body, headers=headers, timeout=30) for _ in range(2)
    ]
    assert replies[0].content == replies[1].content and "state" in first(replies[0])
    assert replies[1].headers["idempotent-replayed"] == "true"


def test_the_program_of_the_page_keeps_its_state(server: Server) -> None:
    page = (ROOT / "docs" / "sessions.md").read_text().partition("## State without a store")[2]
    program = (
        page.partition("```python\n")[2].partition("```")[0].replace("http://127.0.0.1:8000", server.url)
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["5 3", "10 3", "15 3", "20 3"]
