"""What may succeed later, or was too late."""

from service.errors.root import CellgateError


class Unavailable(CellgateError, status=503, code="unavailable", title="Unavailable"):
    """Nothing was applied; the same request may succeed after the time in Retry-After."""

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)


class Overloaded(Unavailable, code="overloaded", title="Overloaded"):
    """Too many requests are waiting."""


class MemoryExhausted(Unavailable, code="memory_exhausted", title="Out of memory for requests"):
    """Requests in progress use all of the memory that is reserved for them."""


class SessionCapacity(Unavailable, code="session_capacity", title="Session store is full"):
    """The session store is full, and no session has been idle long enough to be evicted."""


class Draining(Unavailable, code="draining", title="Not ready"):
    """The server is starting or stopping: it finishes running requests and accepts no new ones."""


class ModelLoading(Unavailable, code="model_loading", title="Version is being loaded"):
    """The version is being loaded: this worker does not serve it yet."""


class StoreUnavailable(Unavailable, code="store_unavailable", title="Session store unavailable"):
    """The session store does not answer; requests without a session still work."""


class DeadlineExceeded(CellgateError, status=504, code="deadline_exceeded", title="Deadline exceeded"):
    """The request was not computed in time; a session has not moved."""
