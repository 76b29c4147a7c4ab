"""Sessions as resources: list, read, create, fork, migrate, export, import, delete."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np

from cellgate.errors import BadReply
from cellgate.flow import Flow, Send
from cellgate.inputs import to_plain
from cellgate.predict import JSON_HEADERS, dumps
from cellgate.predictions import Array
from cellgate.replies import parse
from cellgate.retry import Retry, exchange


@dataclass(frozen=True, slots=True)
class History:
    """Which earlier states a session keeps."""

    last: int
    """How many, at most; 0: none."""
    every: int | None = None
    """Those at multiples of so many steps; None: those before each request."""
    checkpoints: tuple[int, ...] = ()
    """Of a stored session: the earlier steps to which it can be rewound."""
    bytes: int = 0
    """Of a stored session: of these states."""

    def fields(self) -> dict[str, Any]:
        """Those of a request."""
        return {"last": self.last} | ({} if self.every is None else {"every": self.every})


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A live session, as the server's store has it."""

    session: str
    """Its name."""
    model: str
    version: str
    step: int
    """Steps consumed."""
    created: str
    """ISO 8601, UTC."""
    idle_s: float
    expires_in_s: float
    state_bytes: int
    rewinds: int = 0
    """How often it was rewound."""
    history: History | None = None
    """None: it keeps no earlier states."""
    state: Mapping[str, Array] | None = field(default=None, repr=False, compare=False)
    """The recurrent tensors by name, without the batch axis, if they were asked for; NaN where not finite."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the live sessions, in order of name."""

    sessions: tuple[StoredSession, ...]
    next: str | None
    """The `after` of the next page; None on the last one."""


@dataclass(frozen=True, slots=True)
class Creation:
    """What a new session begins with. None: the server's default."""

    model: str | None = None
    version: str | None = None
    state: Mapping[str, Any] | None = None
    """Each recurrent tensor by name, without the batch axis; or `{"name": …}`, a named initial state."""
    step: int = 0
    """The number of steps that led to this state."""
    ttl_s: float | None = None
    history: History | None = None
    replace: bool = False
    """Whether it may replace a live session."""
    at: int | None = None
    """The step of the live session that it replaces, and no other."""
    rewinds: int | None = None
    """How often that session was rewound."""


def path_of(session: str, action: str = "") -> str:
    """The path of a session, or of what can be done with it."""
    return f"/sessions/{quote(session, safe='')}{action and f'/{action}'}"


def list_page(retry: Retry, *, after: str = "", limit: int = 100, model: str | None = None) -> Flow[Page]:
    """One page of the live sessions."""
    params = {"after": after, "limit": limit} | ({} if model is None else {"model": model})
    reply = parse((yield from exchange(Send("GET", "/sessions", params=params), retry)))
    try:
        return Page(tuple(_stored(entry) for entry in reply["sessions"]), reply.get("next"))
    except (KeyError, TypeError) as error:
        raise BadReply(f"GET /sessions: not a page of sessions: {error!r}") from error


def read(session: str, retry: Retry, *, state: bool = False) -> Flow[StoredSession]:
    """One live session. Raises UnknownSession or SessionGone."""
    params = {"state": "true"} if state else {}
    return (yield from _described(Send("GET", path_of(session), params=params), retry))


def create(session: str, creation: Creation, retry: Retry) -> Flow[StoredSession]:
    """A new session, with a state and a step of its own. Raises SessionExists or SessionConflict."""
    state = creation.state
    fields = {
        "model": creation.model,
        "version": creation.version,
        "state": None if state is None else {name: to_plain(value) for name, value in state.items()},
        "step": creation.step,
        "ttl_s": creation.ttl_s,
        "history": None if creation.history is None else creation.history.fields(),
        "at": creation.at,
        "rewinds": creation.rewinds,
    }
    params = {"replace": "true"} if creation.replace else {}
    return (yield from _described(_json("PUT", path_of(session), fields, params), retry))


def fork(
    session: str,
    to: str,
    retry: Retry,
    *,
    at: int | None = None,
    ttl_s: float | None = None,
    history: History | None = None,
) -> Flow[StoredSession]:
    """A second session that continues from this one's state. Raises SessionExists or UnknownCheckpoint."""
    fields = {"to": to, "at": at, "ttl_s": ttl_s, "history": None if history is None else history.fields()}
    return (yield from _described(_json("POST", path_of(session, "fork"), fields), retry))


def rewind(session: str, step: int, retry: Retry, *, at: int, rewinds: int) -> Flow[StoredSession]:
    """Return to a step that is kept; applied once. Raises SessionConflict or UnknownCheckpoint."""
    fields = {"step": step, "at": at, "rewinds": rewinds}
    return (yield from _described(_json("POST", path_of(session, "rewind"), fields), retry))


def migrate(session: str, retry: Retry, *, version: str | None = None) -> Flow[StoredSession]:
    """Continue with another version of the model. Raises SessionMismatch."""
    return (yield from _described(_json("POST", path_of(session, "migrate"), {"version": version}), retry))


def change(
    session: str, retry: Retry, *, ttl_s: float | None = None, history: History | None = None
) -> Flow[StoredSession]:
    """Change the idle time after which it expires, or which earlier states it keeps."""
    fields = {"ttl_s": ttl_s, "history": None if history is None else history.fields()}
    return (yield from _described(_json("PATCH", path_of(session), fields), retry))


def delete(session: str, retry: Retry, *, at: int | None = None, rewinds: int | None = None) -> Flow[None]:
    """Delete it. Raises UnknownSession, also where a lost reply was that of its deletion; SessionConflict."""
    yield from exchange(Send("DELETE", path_of(session), params=_given(at=at, rewinds=rewinds)), retry)


def export(session: str, retry: Retry) -> Flow[bytes]:
    """The session as a file with a checksum."""
    response: httpx.Response = yield from exchange(Send("GET", path_of(session, "export")), retry)
    return response.content


def import_(
    session: str,
    exported: bytes,
    retry: Retry,
    *,
    version: str | None = None,
    replace: bool = False,
    at: int | None = None,
    rewinds: int | None = None,
) -> Flow[StoredSession]:
    """A session from an exported file. Raises BadExport, SessionExists, SessionConflict, SessionMismatch."""
    params = _given(version=version, replace="true" if replace else None, at=at, rewinds=rewinds)
    headers = {"content-type": "application/octet-stream"}
    send = Send("PUT", path_of(session, "import"), exported, headers, params)
    return (yield from _described(send, retry))


def _json(method: str, path: str, fields: Mapping[str, Any], params: Mapping[str, Any] | None = None) -> Send:
    return Send(method, path, dumps(_given(**fields)), JSON_HEADERS, params or {})


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _described(send: Send, retry: Retry) -> Flow[StoredSession]:
    entry = parse((yield from exchange(send, retry)))
    try:
        return _stored(entry)
    except (KeyError, TypeError) as error:
        raise BadReply(f"{send.method} {send.path}: not a session: {error!r}") from error


def _stored(entry: Mapping[str, Any]) -> StoredSession:
    state, history = entry.get("state"), entry.get("history")
    return StoredSession(
        session=entry["session"],
        model=entry["model"],
        version=entry["version"],
        step=entry["step"],
        created=entry["created"],
        idle_s=entry["idle_s"],
        expires_in_s=entry["expires_in_s"],
        state_bytes=entry["state_bytes"],
        rewinds=entry.get("rewinds", 0),
        history=None if history is None else _history(history),
        state=None if state is None else {name: _tensor(value) for name, value in state.items()},
    )


def _history(entry: Mapping[str, Any]) -> History:
    return History(entry["last"], entry.get("every"), tuple(entry["checkpoints"]), entry["bytes"])


def _tensor(value: Any) -> Array:
    """float64 holds what the server wrote of any state, whose dtype only the model's graph knows."""
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype == object else array
