"""The rules of sessions: `at`, retries, conflicts, sessions that have ended (docs/http-api.md, Retries)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from cellgate.errors import SessionConflict, SessionExists, SessionGone, SessionMismatch, UnknownSession

Reply = dict[str, Any]


@dataclass
class FakeSession:
    """A session, or, if it is not live, the trace of one."""

    model: str
    step: int = 0
    state: Any = None
    status: Literal["live", "ended", "expired", "evicted"] = "live"
    applied: list[tuple[int, Any]] = field(default_factory=list)
    """Every part that was applied, with the step before it: for assertions."""
    replies: list[tuple[int, Any, Reply]] = field(default_factory=list)
    """`at`, content and reply of the last parts."""

    def reply_to(self, at: int | None, content: Any) -> Reply | None:
        """The stored reply to a part that is sent again; an expired session has none."""
        if self.status not in ("live", "ended"):
            return None
        return next((reply for when, what, reply in self.replies if (when, what) == (at, content)), None)


class FakeSessions:
    """All sessions by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, FakeSession] = {}
        self.exports: dict[bytes, FakeSession] = {}

    def live(self, name: str) -> FakeSession:
        """A live session. Raises UnknownSession or SessionGone."""
        session = self.by_name.get(name)
        if session is None:
            raise UnknownSession("no session of that name", status=404)
        if session.status != "live":
            raise _gone(session)
        return session

    def add(self, name: str, session: FakeSession, *, replace: bool = False) -> FakeSession:
        """Put a session under a name. Raises SessionExists."""
        there = self.by_name.get(name)
        if there is not None and there.status == "live" and not replace:
            members = {"step": there.step}
            raise SessionExists(f"the session is live, at step {there.step}", status=409, members=members)
        self.by_name[name] = session
        return session

    def apply(
        self,
        name: str,
        model: str,
        at: int | None,
        content: Any,
        end: bool,
        compute: Callable[[FakeSession], Reply],
        *,
        num_replies: int = 1,
    ) -> Reply:
        """Run one part, or repeat its stored reply. `compute` moves the session. Raises a ResponseError.

        `num_replies`: how many are stored.
        """
        session = self.by_name.get(name)
        if session is not None and session.status == "live" and at in (None, session.step):
            if session.model != model:
                raise SessionMismatch(f"the session belongs to the model {session.model!r}", status=409)
        elif session is not None and (stored := session.reply_to(at, content)) is not None:
            return stored
        else:
            session = self._begin(model, at, session)
        before = session.step
        reply = compute(session)
        session.applied.append((before, content))
        session.replies = [*session.replies, (before, content, reply)][-num_replies:]
        session.status = "ended" if end else "live"
        self.by_name[name] = session
        return reply

    def resume(self, name: str, at: int | None) -> int:
        """The step at which a stream continues. Raises a ResponseError."""
        session = self.by_name.get(name)
        if session is not None and session.status == "live" and at in (None, session.step):
            return session.step
        is_held = session is not None and at in [when for when, _, _ in session.replies]
        if session is not None and is_held and session.status in ("live", "ended"):
            return session.step
        return self._begin("", at, session).step

    def _begin(self, model: str, at: int | None, session: FakeSession | None) -> FakeSession:
        if session is not None and session.status == "live":
            raise SessionConflict(
                f"the session is at step {session.step}, the request says {at}",
                status=409,
                members={"step": session.step},
            )
        if session is None and at:
            raise UnknownSession(f"no session of that name; a new one starts at step 0, not {at}", status=404)
        if session is not None and at != 0 and (at is not None or session.status != "ended"):
            raise _gone(session)
        return FakeSession(model)


def _gone(session: FakeSession) -> SessionGone:
    return SessionGone(
        f"the session {session.status} at step {session.step}",
        status=410,
        members={"reason": session.status, "step": session.step},
    )
