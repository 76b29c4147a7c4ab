"""What may pass: it is tried again for `max_retry_s`."""

from cellgate.errors.root import ResponseError


class Unavailable(ResponseError, code="unavailable"):
    """Nothing was applied; it was retried until `max_retry_s` had passed."""


class Overloaded(Unavailable, code="overloaded"):
    """Too many requests are waiting."""


class MemoryExhausted(Unavailable, code="memory_exhausted"):
    """The bodies of requests in progress use all memory for them."""


class SessionCapacity(Unavailable, code="session_capacity"):
    """The session store is full."""


class Draining(Unavailable, code="draining"):
    """The server is starting or stopping."""


class ModelLoading(Unavailable, code="model_loading"):
    """The version is being loaded."""


class StoreUnavailable(Unavailable, code="store_unavailable"):
    """The session store does not answer."""


class ReplicaLost(Unavailable, code="replica_lost"):
    """The proxy lost the server that it had passed the request to."""


class DeadlineExceeded(Unavailable, code="deadline_exceeded"):
    """The request was not computed in time; a session has not moved."""


class ReplicaSilent(DeadlineExceeded, code="replica_silent"):
    """The proxy's server did not answer in time."""
