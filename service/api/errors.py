"""What the routes share: their errors in one table, as problem details (RFC 9457); what readiness asks."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Query

from service.api.schemas import Problem

CheckReady = Callable[[bool], Awaitable[None]]  # whether sessions count too; raises Unavailable
AskStore = Annotated[bool, Query(description="false: do not ask for the session store")]

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"description": "not JSON, or a bad header"},
    404: {"description": "unknown model, version or session"},
    409: {"description": "the session is at another step, or belongs to another model"},
    410: {"description": "the session is gone: ended, expired or evicted"},
    413: {"description": "body too large"},
    415: {"description": "not application/json"},
    422: {"description": "well-formed JSON that is not what the model takes"},
    500: {"description": "our bug, or the graph's; the log has it under the request's id"},
    503: {"description": "overloaded, stopping, or no room; try again after Retry-After seconds"},
    504: {"description": "not computed before the deadline"},
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented error responses of a route."""
    return {
        status: PROBLEMS[status]
        | {"content": {"application/problem+json": {"schema": Problem.model_json_schema()}}}
        for status in statuses
    }
