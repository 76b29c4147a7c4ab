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


async def check_query(request: Request) -> None:
    """Raises InvalidField for a parameter that the route does not have: an `at` must not be ignored."""
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            raise InvalidField(
                f"the route has no query parameter {name!r}; it has {', '.join(known) or 'none'}; "
                "others may be fields of its body"
            )
        if given.count(name) > 1:
            raise InvalidField(f"query parameter {name}: it appears twice")
    if request.method == "DELETE" and await request.body():
        raise InvalidField('expected no body: "at" and "rewinds" are query parameters', pointer="")


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
