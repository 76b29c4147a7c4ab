"""Routes other than /predict: models, sessions, health, documentation; and one form for every error."""

import json
from typing import Any

import httpx
import pytest

from service import __main__ as command_line
from tests.e2e.conftest import first, predict
from tests.e2e.server import Server

Steps = list[list[float]]


def test_a_model_describes_its_inputs_and_its_example_can_be_posted(client: httpx.Client) -> None:
    listed = client.get("/models").json()["models"]
    assert [(model["name"], model["version"], model["exact"]) for model in listed] == [("vowels", "1", True)]
    shown = client.get("/models/vowels").json()["models"][0]
    assert (
        shown["inputs"][0]["dims"] == [12] and shown["sessions"] and shown["metrics"]["test_accuracy"] > 0.9
    )
    answer = first(predict(client, shown["example"]["steps"]))
    assert answer["label"] == shown["example"]["label"]


def test_sessions_are_listed_in_pages_and_can_be_deleted(
    client: httpx.Client, utterance: Steps, session: str
) -> None:
    names = [f"{session[-60:]}-{number}" for number in range(5)]
    for name in names:
        predict(client, utterance[:2], session=name)
    seen: list[str] = []
    after = ""
    while True:
        page = client.get("/sessions", params={"limit": 2, "after": after}).json()
        seen += [entry["session"] for entry in page["sessions"]]
        after = page["next"]
        if after is None:
            break
    assert seen == sorted(seen) and set(names) <= set(seen)
    shown = client.get(f"/sessions/{names[0]}").json()
    assert (shown["step"], shown["model"], shown["version"], shown["state_bytes"]) == (2, "vowels", "1", 1024)
    assert client.delete(f"/sessions/{names[0]}").status_code == 204
    assert client.get(f"/sessions/{names[0]}").status_code == 404
    assert first(predict(client, utterance[:2], session=names[0]))["step"] == 2


def test_the_command_line_sees_the_sessions_of_a_running_server(
    server: Server, client: httpx.Client, utterance: Steps, session: str
) -> None:
    from click.testing import CliRunner

    name, directory = session[-100:], str(server.folder / "sessions")
    predict(client, utterance[:3], session=name)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(command_line.main, ["sessions", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    assert f"{name}\tvowels\t1\t3\t" in run("list", "--sessions-dir", directory, "--limit", "1000")
    assert json.loads(run("show", "--sessions-dir", directory, name))["step"] == 3
    assert run("rm", "--sessions-dir", directory, name) == f"removed {name}\n"
    assert client.get(f"/sessions/{name}").status_code == 404


def test_health_is_plain(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "ok"}
    assert client.get("/health/ready").json() == {"status": "ok"}


def test_the_documentation_loads_nothing_from_other_servers(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.status_code == 200 and "swagger" in page.text.lower()
    assert "cdn" not in page.text and "//unpkg" not in page.text
    assert client.get("/", follow_redirects=True).url.path == "/docs"


def test_every_route_is_documented_with_schemas_and_predict_with_examples(client: httpx.Client) -> None:
    api = client.get("/openapi.json").json()
    routes = {(method, path) for path, item in api["paths"].items() for method in item}
    assert {
        ("post", "/predict"), ("get", "/models"), ("get", "/models/{name}"), ("get", "/sessions"),
        ("get", "/sessions/{session}"), ("delete", "/sessions/{session}"),
        ("get", "/health/live"), ("get", "/health/ready"),
    } <= routes  # fmt: skip
    body = api["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] and body["examples"]
    for method, path in routes:
        operation: dict[str, Any] = api["paths"][path][method]
        assert operation.get("description"), (method, path)
        assert "HTTPValidationError" not in json.dumps(operation), (method, path)
        replies = {int(status): reply for status, reply in operation["responses"].items()}
        is_health = "/health/" in path or path.endswith("/ready")
        assert is_health or {401, 429, 500, 503} <= replies.keys(), (method, path)


def test_documented_examples_work(client: httpx.Client, session: str) -> None:
    api = client.get("/openapi.json").json()
    body = api["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    for example in body["examples"].values():
        value = json.loads(json.dumps(example["value"]).replace("call-42", session[-90:]))
        for each in value["sequences"]:
            if isinstance(each, dict) and isinstance(each.get("state"), str):  # of an earlier reply
                first = {"model": "vowels", "sequences": [each["steps"]], "return_state": True}
                each["state"] = client.post("/predict", json=first).json()["predictions"][0]["state"]
        assert client.post("/predict", json=value).status_code == 200, example


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/predict", 405, "method_not_allowed"),
        ("POST", "/models", 405, "method_not_allowed"),
        ("GET", "/models/none", 404, "unknown_model"),
        ("GET", "/sessions/none", 404, "unknown_session"),
        ("GET", "/sessions/a%20b", 422, "invalid_field"),
        ("GET", "/sessions?limit=0", 422, "invalid_field"),
        ("DELETE", "/sessions/none", 404, "unknown_session"),
    ],
)
def test_every_error_has_one_form(
    client: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    response = client.request(method, path)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "code", "pointer"),
    [
        (b"{nope", "application/json", 400, "invalid_json", None),
        (b"{}", "text/plain", 415, "unsupported_media_type", None),
        (b'{"step": true}', "application/json", 422, "invalid_field", "/step"),
        (b'{"stepp": 1}', "application/json", 422, "invalid_field", "/stepp"),
        (b"[]", "application/json", 422, "invalid_field", ""),
    ],
)
def test_a_bad_body_gets_the_same_error_on_every_route(
    client: httpx.Client, body: bytes, kind: str, status: int, code: str, pointer: str | None
) -> None:
    response = client.put("/sessions/never-made", content=body, headers={"content-type": kind})
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json().get("pointer") == pointer
