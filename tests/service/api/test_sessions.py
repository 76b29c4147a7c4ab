"""The routes of sessions as resources: what they pass on, and how a record is shown."""

import numpy as np
import pytest

from service.api.session_replies import LAST_MS, describe
from service.errors import (
    BadExport,
    InvalidField,
    ReplyTooLarge,
    SessionExists,
    UnknownCheckpoint,
    UnknownSession,
)
from service.repository import Repository
from service.sessions import Record
from service.sessions.store import Status
from tests.service.api.parts import Api

H = np.full((1, 128), 0.5).tolist()


def create(api: Api, name: str = "call", **body: object) -> dict[str, object]:
    response = api.request("PUT", f"/sessions/{name}", json=body)
    assert response.status_code == 201
    shown: dict[str, object] = response.json()
    return shown


def test_a_session_is_created_with_a_state_and_shown_with_it(api: Api) -> None:
    created = create(api, state={"h": H, "c": H}, step=7, ttl_s=600)
    assert (created["session"], created["model"], created["version"], created["step"]) == (
        "call", "vowels", "1", 7,
    )  # fmt: skip
    assert "state" in api.request("GET", "/sessions/call?state=true").json()
    shown = api.request("GET", "/sessions/call?state=true").json()
    assert shown["state"] == {"h": H, "c": H} and shown["state_bytes"] == 1024
    assert api.request("GET", "/sessions/call").json()["state"] is None
    with pytest.raises(SessionExists):
        create(api)
    assert api.request("PUT", "/sessions/call?replace=true", json={}).json()["step"] == 0


def test_a_state_that_is_too_large_for_a_reply_is_not_shown(repository: Repository) -> None:
    api = Api(repository, max_reply_bytes=7 * 1024 - 1)
    create(api)
    assert api.request("GET", "/sessions/call").json()["state_bytes"] == 1024
    with pytest.raises(ReplyTooLarge):
        api.request("GET", "/sessions/call?state=true")


def test_an_exported_session_is_imported_forked_migrated_and_deleted(api: Api) -> None:
    create(api, step=3)
    exported = api.request("GET", "/sessions/call/export")
    assert exported.headers["content-type"] == "application/octet-stream"
    assert exported.headers["content-disposition"] == 'attachment; filename="call.cgs"'
    imported = api.request("PUT", "/sessions/copy/import", content=exported.content)
    assert (imported.status_code, imported.json()["step"]) == (201, 3)
    with pytest.raises(BadExport):
        api.request("PUT", "/sessions/other/import", content=exported.content[:-1])
    forked = api.request("POST", "/sessions/call/fork", json={"to": "twin", "ttl_s": 5})
    assert (forked.status_code, forked.json()["session"], forked.json()["step"]) == (201, "twin", 3)
    assert api.request("POST", "/sessions/call/migrate", json={}).json()["version"] == "1"
    names = [entry["session"] for entry in api.request("GET", "/sessions").json()["sessions"]]
    assert names == ["call", "copy", "twin"]
    assert api.request("DELETE", "/sessions/call").status_code == 204
    with pytest.raises(UnknownSession):
        api.request("GET", "/sessions/call")


def test_sessions_are_listed_in_pages_of_one_model(api: Api) -> None:
    for name in ("a", "b", "c"):
        create(api, name)
    first = api.request("GET", "/sessions?limit=2&model=vowels").json()
    assert ([entry["session"] for entry in first["sessions"]], first["next"]) == (["a", "b"], "b")
    rest = api.request("GET", "/sessions?limit=2&after=b").json()
    assert ([entry["session"] for entry in rest["sessions"]], rest["next"]) == (["c"], None)
    assert api.request("GET", "/sessions?model=other").json()["sessions"] == []


def test_the_time_to_live_is_changed(api: Api) -> None:
    create(api, ttl_s=5)
    changed = api.request("PATCH", "/sessions/call", json={"ttl_s": 50}).json()
    assert 40 < changed["expires_in_s"] <= 50


def test_what_a_session_keeps_is_set_and_shown(api: Api) -> None:
    nothing: dict[str, object] = {"every": None, "checkpoints": [], "bytes": 0}
    assert create(api, history={"last": 3})["history"] == {"last": 3} | nothing
    changed = api.request("PATCH", "/sessions/call", json={"history": {"last": 2, "every": 10}}).json()
    assert changed["history"] == {"last": 2} | nothing | {"every": 10}
    assert api.request("PATCH", "/sessions/call", json={"history": {"last": 0}}).json()["history"] is None
    with pytest.raises(InvalidField, match='expected "ttl_s" or "history"'):
        api.request("PATCH", "/sessions/call", json={})
    with pytest.raises(InvalidField) as raised:
        api.request("PUT", "/sessions/other", json={"history": {"last": 2, "every": 0}})
    assert raised.value.pointer == "/history/every"


def test_a_session_is_rewound_and_forked_at_a_step(api: Api) -> None:
    create(api, step=7)
    for _ in range(2):
        rewound = api.request("POST", "/sessions/call/rewind", json={"step": 7, "at": 7, "rewinds": 0})
        assert (rewound.json()["step"], rewound.json()["rewinds"]) == (7, 1)
    with pytest.raises(UnknownCheckpoint):
        api.request("POST", "/sessions/call/rewind", json={"step": 6})
    with pytest.raises(UnknownCheckpoint):
        api.request("POST", "/sessions/call/fork", json={"to": "twin", "at": 6})
    twin = api.request("POST", "/sessions/call/fork", json={"to": "twin", "at": 7, "history": {"last": 1}})
    assert (twin.json()["step"], twin.json()["history"]["last"]) == (7, 1)


@pytest.mark.parametrize("name", ["a%20b", "a%7F", "a" * 129])
def test_a_name_that_no_session_can_have_is_refused(api: Api, name: str) -> None:
    with pytest.raises(InvalidField):
        api.request("GET", f"/sessions/{name}")


def test_the_name_of_a_fork_is_checked_at_its_field(api: Api) -> None:
    create(api)
    with pytest.raises(InvalidField) as raised:
        api.request("POST", "/sessions/call/fork", json={"to": "a b"})
    assert raised.value.pointer == "/to"


def test_a_record_from_beyond_the_year_9999_is_still_shown() -> None:
    record = Record(
        Status.LIVE,
        "m",
        "1",
        bytes(8),
        bytes(8),
        step=1,
        created_ms=LAST_MS * 9,
        touched_ms=LAST_MS,
        ttl_ms=1,
    )
    assert describe("s", record, now_ms=0).created.startswith("9999-12-31T23:59:59")


@pytest.mark.parametrize(
    ("method", "path", "body", "detail"),
    [
        ("PUT", "?replace=true&at=2", b"{}", "no query parameter 'at'"),
        ("PATCH", "?at=2", b'{"ttl_s": 60}', "no query parameter 'at'"),
        ("POST", "/migrate?rewinds=1", b"{}", "no query parameter 'rewinds'"),
        ("DELETE", "?rewind=1", b"", "no query parameter 'rewind'; it has at, rewinds"),
        ("DELETE", "?at=3&at=2", b"", "at: it appears twice"),
        ("DELETE", "", b'{"at": 2}', "query parameters"),
    ],
)
def test_an_expected_step_in_the_wrong_place_is_refused_not_ignored(
    api: Api, method: str, path: str, body: bytes, detail: str
) -> None:
    """`at` was ignored in the query of PUT and in the body of DELETE, and the step of another client lost."""
    before = create(api, step=3)
    with pytest.raises(InvalidField) as refused:
        api.request(method, f"/sessions/call{path}", content=body)
    assert detail in refused.value.detail
    shown = api.request("GET", "/sessions/call").json()
    assert (shown["step"], shown["rewinds"]) == (before["step"], before["rewinds"])
