"""A server with API keys: authentication, sessions for each tenant, quotas and rates."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.server import Server, running

ROW = [0.1] * 12
KEYS = {"acme": "acme-secret", "beta": "beta-secret", "slow": "slow-secret"}
INFER = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 12], "data": ROW}],
    "parameters": {"sequence_id": "s", "sequence_start": True},
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("guarded")
    limits = {"acme": "max_sessions = 2", "beta": "", "slow": "requests_per_s = 0.1"}
    tables = [
        f'[{name}]\nkeys = ["sha256:{hashlib.sha256(key.encode()).hexdigest()}"]\n{limits[name]}\n'
        for name, key in KEYS.items()
    ]
    (folder / "keys.toml").write_text("".join(tables))
    with running(folder, keys_file=str(folder / "keys.toml"), workers="2") as started:
        yield started


def as_tenant(server: Server, name: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {KEYS[name]}"}, timeout=30)


def step(client: httpx.Client, session: str, **fields: Any) -> httpx.Response:
    return client.post("/predict", json={"sequences": [{"steps": [ROW], "session": session, **fields}]})


def test_only_health_and_documentation_need_no_key(guarded: Server) -> None:
    with httpx.Client(base_url=guarded.url, timeout=60) as anonymous:
        for path in (
            "/health/live",
            "/health/ready",
            "/v2/health/live",
            "/v2/health/ready",
            "/docs",
            "/swagger/swagger-ui.css",
            "/openapi.json",
        ):
            assert anonymous.get(path).status_code == 200, path
        for method, path in (
            ("POST", "/predict"), ("POST", "/v2/models/vowels/infer"), ("GET", "/v2"), ("GET", "/models"),
            ("GET", "/sessions"), ("DELETE", "/sessions/x"), ("GET", "/healthy"), ("PUT", "/sessions/x"),
        ):  # fmt: skip
            refused = anonymous.request(method, path)
            assert refused.status_code == 401 and refused.json()["code"] == "unauthorized", path
            assert refused.headers["www-authenticate"] == "Bearer"
        assert anonymous.get("/models", headers={"x-api-key": "wrong"}).status_code == 401


def test_each_tenant_has_its_own_sessions(guarded: Server) -> None:
    with as_tenant(guarded, "acme") as acme, as_tenant(guarded, "beta") as beta:
        assert step(acme, "call", at=0).json()["predictions"][0]["step"] == 1
        assert step(acme, "call", at=1).json()["predictions"][0]["step"] == 2
        assert step(beta, "call", at=0).json()["predictions"][0]["step"] == 1
        assert acme.get("/sessions/call").json()["step"] == 2
        assert [s["session"] for s in beta.get("/sessions").json()["sessions"]] == ["call"]
        assert beta.get("/sessions/call/export").status_code == 200
        assert acme.delete("/sessions/call").status_code == 204
        assert acme.get("/sessions/call").status_code == 404
        assert beta.get("/sessions/call").json()["step"] == 1
        assert beta.post("/v2/models/vowels/infer", json=INFER).status_code == 200
        assert beta.get("/sessions/v2/vowels/s/s").status_code == 200
        assert acme.get("/sessions/v2/vowels/s/s").status_code == 404


@pytest.mark.promise(8)
def test_the_session_quota_of_a_tenant_is_enforced(guarded: Server) -> None:
    with as_tenant(guarded, "acme") as acme, as_tenant(guarded, "beta") as beta:
        assert [step(acme, f"n{i}").status_code for i in range(3)] == [200, 200, 429]
        refused = step(acme, "n3")
        assert refused.json()["code"] == "session_quota"
        assert acme.put("/sessions/n4", json={}).status_code == 429
        assert step(acme, "n0").status_code == 200, "its live sessions continue"
        assert step(beta, "n3").status_code == 200
        acme.delete("/sessions/n0")
        assert step(acme, "n3").status_code == 200


def test_the_request_rate_of_a_tenant_is_limited(guarded: Server) -> None:
    with as_tenant(guarded, "slow") as slow:
        answers = [slow.get("/models") for _ in range(20)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert answers[0].status_code == 200 and refused
        assert refused[0].json()["code"] == "rate_limited" and int(refused[0].headers["retry-after"]) >= 1


def test_no_key_is_logged(guarded: Server) -> None:
    with as_tenant(guarded, "beta") as beta:
        beta.get("/models")
    guarded.wait_for_log("/models")
    assert not any(key in guarded.log.read_text() for key in KEYS.values())


def test_a_server_open_to_the_network_without_keys_logs_a_warning(tmp_path: Path) -> None:
    with running(tmp_path, host="0.0.0.0") as started:
        assert "no API keys are configured" in started.log.read_text()
