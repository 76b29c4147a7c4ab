"""The roots of the tree: what a caller may want to catch as a family."""

from collections.abc import Mapping
from typing import Any, ClassVar


class CellgateError(Exception):
    """The root."""


class ConnectionFailed(CellgateError):
    """No reply. The request may have been applied; a step that is sent again is never applied twice."""


class ReplyTimeout(ConnectionFailed):
    """No reply within `timeout_s`."""


class BadReply(CellgateError):
    """The reply is not that of a Cellgate server."""


class ResponseError(CellgateError):
    """An error that the server answered (RFC 9457)."""

    code: ClassVar[str] = ""
    _by_code: ClassVar[dict[str, type["ResponseError"]]] = {}

    def __init_subclass__(cls, *, code: str = "") -> None:
        """Register the class of a code."""
        cls.code = code
        if code:
            cls._by_code[code] = cls

    def __init__(
        self, detail: str, *, status: int = 0, members: Mapping[str, Any] | None = None, request_id: str = ""
    ) -> None:
        """`members`: of the problem document: code, pointer, step, reason, and others."""
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.members = dict(members or {})
        self.request_id = request_id

    @property
    def pointer(self) -> str | None:
        """RFC 6901: the place in the request, as /sequences/0/steps/7; None: it has none."""
        pointer = self.members.get("pointer")
        return None if pointer is None else str(pointer)

    @property
    def step(self) -> int | None:
        """The step that the session is at, or was at; None: the error has none."""
        step = self.members.get("step")
        return step if isinstance(step, int) else None

    @property
    def reason(self) -> str | None:
        """Why a session is no more: ended, expired, evicted; None: the error has none."""
        reason = self.members.get("reason")
        return None if reason is None else str(reason)

    def __str__(self) -> str:
        """One line: status, code, detail, and the place in the request."""
        code = self.members.get("code", self.code)
        place = f" at {self.pointer}" if self.pointer else ""
        return " ".join(filter(None, (str(self.status or ""), str(code)))) + f": {self.detail}{place}"

    @classmethod
    def by_code(cls) -> Mapping[str, type["ResponseError"]]:
        """The class of each code that this version knows."""
        return cls._by_code


class BadInput(ResponseError, code="bad_input"):
    """The request is at fault: sent again unchanged, it fails again."""


class NotFound(ResponseError, code="not_found"):
    """There is no resource of that name."""


class Conflict(ResponseError):
    """The state of a resource does not allow the call."""


class TooMany(ResponseError):
    """A limit of the tenant."""


class ServerError(ResponseError):
    """The server failed; a session is as it was."""
