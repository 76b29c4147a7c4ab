"""Sessions that are not as a request expects them."""

from service.errors.root import BadInput, CellgateError, NotFound


class SessionNotSupported(BadInput, status=422, code="session_not_supported", title="Sessions not supported"):
    """The model has no sessions: it needs the whole sequence, or has no state."""


class BadExport(BadInput, status=422, code="bad_export", title="Not an exported session"):
    """The body is not an exported session, or was modified after its export."""


class UnknownSession(NotFound, code="unknown_session", title="Unknown session"):
    """No session of that name exists: it was never started, or it was deleted."""


class SessionConflict(CellgateError, status=409, code="session_conflict", title="Session is at another step"):
    """`at` is neither the session's step nor that of its last request; `step` is the session's."""


class UnknownCheckpoint(CellgateError, status=409, code="unknown_checkpoint", title="Step is not kept"):
    """The session does not keep its state at that step; `kept` lists the steps that it keeps."""


class SessionExists(CellgateError, status=409, code="session_exists", title="Session exists"):
    """A live session has that name, and the request does not replace it; `step` is its step."""


class SessionMismatch(
    CellgateError, status=409, code="session_mismatch", title="Session belongs to another model"
):
    """The session was started on another model, version or graph, and stays with it."""


class SessionGone(CellgateError, status=410, code="session_gone", title="Session has ended"):
    """The session was ended, has expired, or was evicted; `reason` says which."""


class SessionQuota(CellgateError, status=429, code="session_quota", title="Too many sessions"):
    """The tenant has reached its limit of sessions, or of bytes in them; nothing was applied."""


class CorruptRecord(CellgateError, code="corrupt_session", title="Corrupt session"):
    """The stored session cannot be read; it can be deleted or replaced.

    `revision` is what stands in the place of the record's revision: it allows replacing the record.
    """

    def __init__(self, detail: str, revision: bytes) -> None:
        super().__init__(f"{detail}; the session cannot be continued, only deleted or replaced")
        self.revision = revision
