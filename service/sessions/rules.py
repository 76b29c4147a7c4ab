"""The rules of a session: which request may run, what a retry gets, when a session has ended.

    record ─ decide ─┬─→ run, from a state and a step
                     ├─→ the stored reply: the last request, again
                     └─→ an error: 404, 409, 410

Pure: they know records and the time as an argument; they know no store, HTTP, JSON or ONNX Runtime.
"""

from dataclasses import dataclass

from service.errors import SessionConflict, SessionExists, SessionGone, SessionMismatch, UnknownSession
from service.sequence import Start
from service.sessions import replies
from service.sessions.replies import Answered
from service.sessions.store.history import History
from service.sessions.store.record import Record, Status

_SHADOW = b"\1"


@dataclass(slots=True, frozen=True)
class Binding:
    """What a session's state belongs to: a session stays with the version that it started on."""

    model: str
    version: str
    graph: bytes  # 8: the fingerprint of the graph, its weights, and what the manifest makes of them


@dataclass(slots=True)  # not frozen, for speed
class Opened:
    """A session whose next request may run, or, with `reply`, need not."""

    key: bytes
    existing: Record | None  # what the commit replaces: a session, a tombstone, or nothing
    resumed: Record | None = None  # the live session; None when this request starts a new one
    reply: bytes | None = None  # the stored reply, when this is the last request again
    begin: int = 0  # the step at which a new session starts

    @property
    def version(self) -> str:
        """The model version of the existing record."""
        return self.existing.version if self.existing else ""

    @property
    def step(self) -> int:
        """Steps consumed so far."""
        return self.resumed.step if self.resumed else self.begin

    @property
    def history(self) -> History | None:
        """What the session keeps of its past."""
        return self.resumed.history if self.resumed else None

    @property
    def replied_step(self) -> int:
        """Steps consumed when `reply` was made: after it, nothing was."""
        return self.existing.step if self.existing else 0


def session_key(tenant: str, session: str) -> bytes:
    """The store's key. A tenant cannot contain NUL, so no tenant reaches another's sessions."""
    return f"{tenant}\0{session}".encode()


def shadow_key(key: bytes) -> bytes:
    """The store's key of a session's fork on a shadow version. No tenant's name begins with this byte."""
    return _SHADOW + key


def is_shadow_key(key: bytes) -> bool:
    """Whether a key is that of a fork."""
    return key.startswith(_SHADOW)


def is_live(record: Record, now_ms: int) -> bool:
    """Whether the record is a session that has not expired."""
    return record.status is Status.LIVE and now_ms - record.touched_ms <= record.ttl_ms


def require_live(record: Record | None, now_ms: int) -> Record:
    """The record, if it is of a live session. Raises UnknownSession or SessionGone."""
    if record is None:
        raise UnknownSession("no session of that name")
    if not is_live(record, now_ms):
        raise _gone(record)
    return record


def decide(
    key: bytes,
    record: Record | None,
    binding: Binding,
    now_ms: int,
    *,
    at: int | None,
    digest: bytes,
    start: Start,
    is_pinned: bool,
    begin: int = 0,
    rewinds: int | None = None,
) -> Opened:
    """Whether a request may run on the session that is stored as `record`, and from where.

    `rewinds`: how often the session was rewound when the request was made; None: the request does not say.
    `is_pinned`: whether the request names the version. If not, its retry gets the stored reply even if
    another version has become the default meanwhile.
    `start`: "auto" of `/predict`, or "given" with a state of the client's own, which begins at the step
    `begin`; the others are of `/v2`, whose sequences say when they start.
    Raises UnknownSession, SessionGone, SessionConflict, SessionExists or SessionMismatch.
    """
    if rewinds is not None and record is not None and is_live(record, now_ms):
        check_rewinds(record, rewinds)
    answered: Answered | None = None  # if the request is the last one again, or one of the last of a stream
    last_at = at
    if at is None and start in ("new", "given") and record is not None and is_live(record, now_ms):
        last_at = begin  # a start that is sent twice would be refused, so it is a retry where it can be one
    if record is not None and last_at is not None and last_at < record.step:
        answered = _find_answered(record, binding, last_at, digest, is_pinned)
    if answered is None and rewinds and (record is None or not is_live(record, now_ms)):
        # A new session was never rewound.
        raise UnknownSession("no session of that name") if record is None else _gone(record)
    if start in ("new", "restart", "given"):
        if answered is not None and last_at == begin:
            return Opened(key, record, reply=answered.reply)
        return _start(key, record, now_ms, at, start, begin)
    live = record if record is not None and is_live(record, now_ms) else None
    if live is not None:
        _check_binding(live, binding)
        if at is None or at == live.step:
            return Opened(key, live, live)
    if answered is not None:
        return Opened(key, record, reply=answered.reply)
    if live is None:
        return _begin(key, record, at if start == "auto" else None, must_exist=start == "no")
    raise at_other_step(live, at)


def at_other_step(live: Record, at: int | None) -> SessionConflict:
    """The error of a request that expects the session at another step."""
    members = {"step": live.step}
    if live.rewinds:
        members["rewinds"] = live.rewinds
    return SessionConflict(f"the session is at step {live.step}, the request says {at}", members=members)


def check_rewinds(live: Record, rewinds: int) -> None:
    """Refuse a request that was made before the session was rewound."""
    if rewinds != live.rewinds:
        raise SessionConflict(
            f"the session was rewound {live.rewinds} times, the request says {rewinds}; it is at step "
            f"{live.step}",
            members={"step": live.step, "rewinds": live.rewinds},
        )


def check_resumable(
    record: Record | None,
    binding: Binding,
    now_ms: int,
    *,
    at: int | None,
    rewinds: int | None,
    begin: int | None = None,
) -> tuple[int, bool]:
    """The step that a stream continues at, and whether its first frame begins the session anew.

    `begin`: the step of the state that the client gives; None: it gives none.

    `at`: where the client believes it is. A step before the session's is accepted where the replies from
    there on are held. `rewinds`: as in `decide`, which it raises as.
    """
    if record is not None and is_live(record, now_ms):
        _check_binding(record, binding)
        if rewinds is not None:
            check_rewinds(record, rewinds)
        if begin is not None and at is None:
            raise exists(record, 'to continue it, leave out "state"')
        if at in (None, record.step) or at in replies.starts_held(record):
            return record.step, False
        raise at_other_step(record, at)
    if record is not None and at is not None and at in replies.starts_held(record):
        return record.step, False  # its end was answered, but the client may not have the reply
    if begin is not None:
        return _start(b"", record, now_ms, at, "given", begin).step, False
    _begin(b"", record, at, must_exist=False)
    return 0, record is not None


def _start(
    key: bytes, record: Record | None, now_ms: int, at: int | None, start: Start, begin: int
) -> Opened:
    """An explicit first step: in place of any record, unless that is a live session."""
    if at is not None and at != begin:
        raise SessionConflict(
            f"a session starts at step {begin}, the request says {at}", members={"step": begin}
        )
    if start != "restart" and record is not None and is_live(record, now_ms):
        given = start == "given"
        raise exists(record, 'to continue it, leave out "state"' if given else "restart: true replaces it")
    return Opened(key, record, begin=begin)


def _begin(key: bytes, record: Record | None, at: int | None, *, must_exist: bool) -> Opened:
    """A first step where there is no live session: under a free name, or in place of a tombstone."""
    if record is None:
        if must_exist:
            raise UnknownSession("no sequence of that id; sequence_start: true starts one")
        if at:
            raise UnknownSession(f"no session of that name; a new one starts at step 0, not {at}")
        return Opened(key, None)
    # An ended session was ended by its own client, who may reuse the name. An expired or evicted one was not:
    # continuing without its state would give a wrong answer, so the client has to send `at: 0`.
    if not must_exist and (at == 0 or (at is None and record.status is Status.ENDED)):
        return Opened(key, record)
    raise _gone(record, "sequence_start: true" if must_exist else "at: 0")


def exists(live: Record, advice: str = "") -> SessionExists:
    """The error of a request that would replace a live session without saying so."""
    detail = "; ".join(filter(None, (f"the session is live, at step {live.step}", advice)))
    return SessionExists(detail, members={"step": live.step})


def graph_changed(record: Record) -> SessionMismatch:
    """The error of a session whose version now has another fingerprint than when it computed its state."""
    return SessionMismatch(
        f"{record.model} version {record.version} has changed since it computed the session's state: its "
        "graph, its weights, or what model.json says of states, inputs, axes or constants"
    )


def _gone(record: Record, start: str = "at: 0") -> SessionGone:
    reason = "expired" if record.is_live else record.status.name.lower()
    return SessionGone(
        f"the session {'was evicted' if reason == 'evicted' else reason} at step {record.step}; "
        f"to start it again, send {start}",
        members={"reason": reason, "step": record.step},
    )


def _find_answered(
    record: Record, binding: Binding, at: int, digest: bytes, is_pinned: bool
) -> Answered | None:
    """The request, if it has been applied and its reply is held."""
    if record.model != binding.model:
        return None
    if is_pinned and binding != Binding(record.model, record.version, record.graph):
        return None
    return replies.find(record, at, digest)


def _check_binding(record: Record, binding: Binding) -> None:
    if (record.model, record.version) != (binding.model, binding.version):
        raise SessionMismatch(
            f"the session runs on {record.model} version {record.version}, "
            f"not on {binding.model} version {binding.version}",
            members={"model": record.model, "version": record.version},
        )
    if record.graph != binding.graph:
        raise graph_changed(record)
