"""Errors of sessions."""

from cellgate.errors.root import BadInput, Conflict, NotFound, ResponseError, ServerError, TooMany


class SessionNotSupported(BadInput, code="session_not_supported"):
    """The model needs the whole sequence, or has no state."""


class BadExport(BadInput, code="bad_export"):
    """The file is not an exported session, or was modified after its export."""


class UnknownSession(NotFound, code="unknown_session"):
    """No session of that name exists."""


class SessionConflict(Conflict, code="session_conflict"):
    """The session is at another step than the client believed; `step` is the session's."""

    @property
    def rewinds(self) -> int | None:
        """How often the session was rewound, where that is the conflict."""
        rewinds = self.members.get("rewinds")
        return rewinds if isinstance(rewinds, int) else None


class SessionExists(Conflict, code="session_exists"):
    """A live session has that name; `step` is its step."""


class SessionMismatch(Conflict, code="session_mismatch"):
    """The session belongs to another model, version or graph."""


class SessionGone(ResponseError, code="session_gone"):
    """The session was ended, has expired, or was evicted: `reason`; `step` is its last one."""


class SessionQuota(TooMany, code="session_quota"):
    """The tenant has reached its limit of sessions, or of bytes in them."""


class CorruptRecord(ServerError, code="corrupt_session"):
    """The stored session cannot be read; it can be deleted or replaced."""


class UnknownCheckpoint(Conflict, code="unknown_checkpoint"):
    """The session does not keep its state at that step; `kept` lists the steps that it keeps."""

    @property
    def kept(self) -> tuple[int, ...]:
        """The steps to which the session can be rewound, or at which it can be forked."""
        return tuple(self.members.get("kept", ()))
