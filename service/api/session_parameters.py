"""What the routes of sessions take beside a body, and the errors that they share."""

from typing import Annotated

from fastapi import Depends, Path, Query, Request

from service.api.errors import LIVE_SESSION
from service.errors import InvalidField, SessionConflict
from service.names import MAX_STEP, SESSION_NAME_PATTERN, SESSION_NAME_RULE


def _tenant(request: Request) -> str:
    """The tenant of the request's API key; "" if no keys are configured."""
    tenant: str = getattr(request.state, "tenant", "")
    return tenant


Tenant = Annotated[str, Depends(_tenant)]
# The pattern is documented, not checked by FastAPI: `check_session_name` says more of a wrong name.
Name = Annotated[
    str, Path(description="the session's name", json_schema_extra={"pattern": SESSION_NAME_PATTERN})
]
At = Annotated[
    int | None,
    Query(ge=0, le=MAX_STEP, description="the step that the live session is at; at another one: 409"),
]
Rewinds = Annotated[
    int | None, Query(ge=0, le=MAX_STEP, description="how often it was rewound; at another number: 409")
]
Replace = Annotated[bool, Query(description="true: replace a live session of that name")]
BAD_NAME = InvalidField(SESSION_NAME_RULE)  # of a route that has no body
CHANGE = (*LIVE_SESSION, SessionConflict)
