"""The root of the errors, and the classes that several families are below."""

from collections.abc import Mapping
from typing import ClassVar

Member = int | str | list[int]  # of a problem document
MAX_CHARACTERS = 1000  # of a detail or a pointer, which may quote what a client sent


class CellgateError(Exception):
    """The root. `detail` says what was wrong and what was expected; `pointer` (RFC 6901) says where."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    closes_connection: ClassVar[bool] = False  # whether the rest of the request's body is left unread

    def __init_subclass__(
        cls, *, status: int = 0, code: str = "", title: str = "", closes: bool = False
    ) -> None:
        """Set what the class names; it inherits the rest."""
        super().__init_subclass__()
        cls.status = status or cls.status
        cls.code = code or cls.code
        cls.title = title or cls.title
        cls.closes_connection = closes

    def __init__(
        self,
        detail: str,
        *,
        pointer: str | None = None,
        retry_after_s: int | None = None,
        members: Mapping[str, Member] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = _clip(detail)
        self.pointer = None if pointer is None else _clip(pointer)
        self.retry_after_s = retry_after_s
        self.members: dict[str, Member] = dict(members or {})
        self.model: tuple[str, str] | None = None  # name and version that the request was for, once known

    @classmethod
    def summary(cls) -> str:
        """One line for the documentation: the first of the class's docstring."""
        return (cls.__doc__ or cls.title).partition("\n")[0]

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The HTTP headers that belong to this error: Retry-After (RFC 9110, 10.2.3) where it has one."""
        return [] if self.retry_after_s is None else [(b"retry-after", b"%d" % self.retry_after_s)]

    def problem(self) -> dict[str, Member]:
        """The RFC 9457 problem details object, with `code`, `pointer` and the further members."""
        problem: dict[str, Member] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.pointer is not None:
            problem["pointer"] = self.pointer
        return problem | self.members


class BadInput(CellgateError, status=400, code="bad_input", title="Bad input"):
    """The request is at fault: sending it again unchanged fails again."""


class NotFound(CellgateError, status=404, code="not_found", title="Not found"):
    """There is no resource of that name."""


class InternalError(CellgateError):
    """An internal error, in the server or in the model's graph; the log has it under the request's id."""

    def __init__(self, detail: str = "an unexpected error occurred; the server's log has it") -> None:
        super().__init__(detail)


class StartupError(CellgateError, code="startup", title="Cannot start"):
    """The server cannot start: a setting, a model or a device is not usable."""


def _clip(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
