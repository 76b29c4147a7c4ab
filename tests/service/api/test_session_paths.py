"""A name in a path is percent-encoded; what is asked of a session is apart from it."""

from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Match
from starlette.types import Scope

from service.api.session_paths import SUB_RESOURCES, SessionRoute
from service.errors import InvalidField, MethodNotAllowed, UnknownSession
from tests.service.api.parts import Api

WHOLE = "/sessions/{session:path}"


async def answer(_: Request) -> PlainTextResponse:
    return PlainTextResponse("")


ROUTES = [
    *(SessionRoute(f"{WHOLE}/{word}", answer, methods=["GET"]) for word in sorted(SUB_RESOURCES)),
    SessionRoute(WHOLE, answer, methods=["GET"]),
]
PIECES = st.sampled_from([*"ab/%2F. ", "export", "/fork", "/import"])
NAMES = st.lists(PIECES, min_size=1, max_size=5).map("".join)


def found(raw_path: str, root_path: str = "", path: str = "/decoded") -> list[tuple[str, str]]:
    """Every route that matches: what it is of, and the session's name."""
    scope: Scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": raw_path.encode(), "root_path": root_path,
    }  # fmt: skip
    matches = [(route.path.removeprefix(WHOLE), *route.matches(scope)) for route in ROUTES]
    return [(part, child["path_params"]["session"]) for part, match, child in matches if match is Match.FULL]


@settings(max_examples=300)
@given(NAMES, st.sampled_from(["", *sorted(SUB_RESOURCES)]), st.sampled_from(["", "/ml"]))
def test_an_encoded_name_is_read_whatever_it_looks_like(name: str, part: str, root_path: str) -> None:
    suffix = f"/{part}" if part else ""
    path = f"{root_path}/sessions/{quote(name, safe='')}{suffix}"
    assert found(path, root_path) == [(suffix, name)]


@pytest.mark.parametrize(
    ("path", "part", "name"),
    [
        ("/sessions/export", "", "export"),
        ("/sessions/export/export", "/export", "export"),
        ("/sessions/v2/vowels/7", "", "v2/vowels/7"),
        ("/sessions/v2/vowels/7/fork", "/fork", "v2/vowels/7"),
        ("/sessions/v2/vowels/s/7%2Ffork", "", "v2/vowels/s/7/fork"),
        ("/sessions/a%2Fexport/export", "/export", "a/export"),
        ("/sessions/a%252Fb", "", "a%2Fb"),
    ],
)
def test_a_slash_in_a_name_may_stand_for_itself_unless_a_part_follows(
    path: str, part: str, name: str
) -> None:
    assert found(path) == [(part, name)]


def test_without_the_encoded_path_the_decoded_one_is_matched() -> None:
    scope: Scope = {"type": "http", "method": "GET", "path": "/sessions/a b/fork", "root_path": ""}
    assert [route.matches(scope)[0] is Match.FULL for route in ROUTES].count(True) == 1


def test_every_part_of_a_session_has_routes(api: Api) -> None:
    parts = {path.rpartition("/")[2] for path in api.openapi()["paths"] if path.startswith("/sessions/{")}
    assert parts == SUB_RESOURCES | {"{session}"}


def test_a_session_named_like_a_part_is_used_like_any_other(api: Api) -> None:
    for name in ("export", "fork", "v2/vowels/s/export", "v2/vowels/s/x/rewind"):
        path = f"/sessions/{quote(name, safe='')}"
        assert api.request("PUT", path, json={"step": 3}).json()["session"] == name
        assert api.request("GET", path).json()["step"] == 3
        exported = api.request("GET", f"{path}/export").content
        assert api.request("PUT", f"{path}/import?replace=true", content=exported).json()["session"] == name
        assert api.request("POST", f"{path}/rewind", json={"step": 3}).json()["rewinds"] == 1
        assert api.request("DELETE", path).status_code == 204


def test_the_name_of_a_part_is_never_taken_for_the_end_of_a_session(api: Api) -> None:
    with pytest.raises(UnknownSession):
        api.request("GET", "/sessions/v2/vowels/s/export")
    with pytest.raises(MethodNotAllowed) as raised:
        api.request("GET", "/sessions/call/fork")
    assert raised.value.allow == ("POST",)
    with pytest.raises(InvalidField):
        api.request("GET", "/sessions/call%2Ffork")
