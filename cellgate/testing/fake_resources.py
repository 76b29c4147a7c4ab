"""`/sessions` of the fake server."""

import copy
import json
from collections.abc import Callable
from typing import Any

import httpx

from cellgate.errors import BadExport, MethodNotAllowed
from cellgate.testing.fake_sessions import FakeSession, FakeSessions

CREATED = "2026-01-01T00:00:00.000+00:00"
TTL_S = 3600.0


def page(params: httpx.QueryParams, sessions: FakeSessions) -> httpx.Response:
    """`GET /sessions`: live ones in order of name."""
    after, limit, model = params.get("after", ""), int(params.get("limit", 100)), params.get("model")
    names = sorted(name for name, each in sessions.by_name.items() if each.status == "live" and name > after)
    names = [name for name in names if model in (None, sessions.by_name[name].model)]
    more = names[limit - 1] if len(names) > limit else None
    shown = [describe(name, sessions.by_name[name]) for name in names[:limit]]
    return httpx.Response(200, json={"sessions": shown, "next": more})


def answer(
    request: httpx.Request,
    name: str,
    action: str | None,
    sessions: FakeSessions,
    choose_model: Callable[[str | None], str],
) -> httpx.Response:
    """A route of one session. Raises a ResponseError."""
    body = json.loads(request.content) if request.content and action != "import" else {}
    match request.method, action:
        case "PUT", _:
            made = _imported(request.content, sessions) if action else _created(body, choose_model)
            sessions.add(name, made, replace=request.url.params.get("replace") == "true")
            return httpx.Response(201, json=describe(name, made))
        case "GET", "export":
            return httpx.Response(200, content=_exported(sessions.live(name), sessions))
        case "DELETE", None:
            sessions.live(name)
            del sessions.by_name[name]
            return httpx.Response(204)
        case "POST", "fork":
            made = sessions.add(body["to"], copy.deepcopy(sessions.live(name)))
            return httpx.Response(201, json=describe(body["to"], made))
        case ("GET" | "PATCH", None) | ("POST", "migrate"):
            ttl_s = body.get("ttl_s", TTL_S)
            return httpx.Response(200, json=describe(name, sessions.live(name), ttl_s=ttl_s))
    raise MethodNotAllowed(f"{request.method} {request.url.path}", status=405)


def describe(name: str, session: FakeSession, *, ttl_s: float = TTL_S) -> dict[str, Any]:
    """A session as the API shows it."""
    return {
        "session": name,
        "model": session.model,
        "version": "1",
        "step": session.step,
        "created": CREATED,
        "idle_s": 0.0,
        "expires_in_s": ttl_s,
        "state_bytes": 0,
    }


def _created(body: dict[str, Any], choose_model: Callable[[str | None], str]) -> FakeSession:
    return FakeSession(choose_model(body.get("model")), body.get("step", 0), body.get("state"))


def _exported(session: FakeSession, sessions: FakeSessions) -> bytes:
    exported = f"fake export {len(sessions.exports)}".encode()
    sessions.exports[exported] = copy.deepcopy(session)
    return exported


def _imported(exported: bytes, sessions: FakeSessions) -> FakeSession:
    if exported not in sessions.exports:
        raise BadExport("not an exported session, or a modified one", status=422)
    return copy.deepcopy(sessions.exports[exported])
