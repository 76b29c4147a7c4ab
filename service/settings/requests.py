"""What a request, and all requests together, may take."""

from pydantic import Field

from service.settings.group import Group


class Requests(Group):
    """Limits of size, number, time and memory."""

    max_body_bytes: int = Field(16 << 20, ge=1, description="maximum size of a request body")
    max_reply_bytes: int = Field(
        64 << 20, ge=1 << 10, description="maximum size that a reply could have; above it: 422, nothing runs"
    )
    request_memory_bytes: int = Field(
        0,
        ge=0,
        description="memory of requests in progress and their replies, for each worker; see docs/limits.md; "
        "above it: 503; 0 = half of the container's or machine's memory, divided by the workers",
    )
    max_sequences: int = Field(1024, ge=1, description="maximum sequences in one request")
    max_steps: int = Field(20_000, ge=1, description="maximum time steps in one sequence of one request")
    request_timeout_s: float = Field(30, gt=0, description="time limit to compute a request (s); then 504")
    body_timeout_s: float = Field(10, gt=0, description="time limit to receive a request body (s); then 408")
    max_connections: int = Field(
        10_000, ge=1, description="maximum connections for each worker, within ulimit -n; above it: 503"
    )
    keep_alive_s: int = Field(75, ge=1, description="idle time after which a connection is closed (s)")
    drain_s: float = Field(30, ge=0, description="on shutdown, maximum wait for requests in progress (s)")
