"""`/sessions`: list, show, create, fork, rewind, migrate, export, import and delete.

`/predict` runs their steps. Those of `/v2` are named `v2/<model>/<sequence id>`, so a name in a path may
contain "/" here.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response

from service.api.errors import LIVE_SESSION, MODEL, NEW_SESSION, VALUES, errors
from service.api.schemas import (
    CreateSessionBody,
    ForkSessionBody,
    HistoryBody,
    MigrateSessionBody,
    PatchSessionBody,
    RewindSessionBody,
    SessionReply,
    SessionsReply,
)
from service.api.session_paths import SessionRoute
from service.api.session_replies import describe, nested_list
from service.codec.sizes import check_reply
from service.errors import (
    BadExport,
    InvalidField,
    ReplyTooLarge,
    SessionConflict,
    SessionExists,
    SessionMismatch,
    SessionNotSupported,
    StoreUnavailable,
    UnknownCheckpoint,
    UnknownState,
)
from service.names import (
    MAX_STEP,
    SESSION_NAME_PATTERN,
    SESSION_NAME_RULE,
    check_session_name,
    file_of_session,
)
from service.sessions import MEDIA_TYPE, Expected, HistoryRule, Resources

JSON_OF_A_BYTE = 7  # characters, at most: "false," of a boolean; 26 of the 8 bytes of a float64


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
BINARY: dict[str, Any] = {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
DOWNLOAD: dict[str, Any] = BINARY | {
    "description": "A file that `import` reads",
    "headers": {
        "Content-Disposition": {
            "description": "the file's name, made from the session's",
            "schema": {"type": "string"},
            "example": 'attachment; filename="call-42.cgs"',
        }
    },
}
BAD_LIMIT = InvalidField("query parameter limit: Input should be greater than or equal to 1")
BAD_NAME = InvalidField(SESSION_NAME_RULE)  # of a route that has no body
CHANGE = (*LIVE_SESSION, SessionConflict)


def build(resources: Resources, *, max_reply_bytes: int) -> APIRouter:
    """The routes below /sessions."""
    router = APIRouter(tags=["sessions"], route_class=SessionRoute)
    _add_list(router, resources)
    _add_files(router, resources)  # before the others, whose names in a path may contain anything
    _add_copies(router, resources)
    _add_session(router, resources, max_reply_bytes)
    _add_changes(router, resources)
    return router


def _add_list(router: APIRouter, resources: Resources) -> None:
    @router.get("/sessions", responses=errors(BAD_LIMIT, StoreUnavailable))
    async def list_sessions(
        tenant: Tenant,
        after: Annotated[str, Query(max_length=300, description="`next` of the previous page")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        model: Annotated[str | None, Query(description="only sessions of this model")] = None,
    ) -> SessionsReply:
        """Live sessions in order of name. A short or even empty page may still have a `next`."""
        page = await resources.page(tenant, after=after, limit=limit, model=model)
        return SessionsReply(
            sessions=[describe(name, record, resources.now_ms()) for name, record in page.sessions],
            next=page.next,
        )


def _add_files(router: APIRouter, resources: Resources) -> None:
    @router.get(
        "/sessions/{session:path}/export",
        response_class=Response,
        responses=errors(BAD_NAME, *LIVE_SESSION, *MODEL, SessionMismatch) | {200: DOWNLOAD},
    )
    async def export_session(
        tenant: Tenant,
        session: Name,
        format: Annotated[
            Literal["session", "safetensors"],
            Query(
                description="safetensors: only the recurrent tensors, as the file of a named initial state"
            ),
        ] = "session",
    ) -> Response:
        """The session as a file with a checksum; it includes the reply to the last request."""
        is_state = format == "safetensors"
        export = resources.export_state if is_state else resources.export
        exported = await export(tenant, check_session_name(session))
        disposition = f'attachment; filename="{file_of_session(session, is_state=is_state)}"'
        return Response(exported, media_type=MEDIA_TYPE, headers={"content-disposition": disposition})

    @router.put(
        "/sessions/{session:path}/import",
        status_code=201,
        responses=errors(
            BadExport,
            InvalidField,
            *MODEL,
            *CHANGE,
            *NEW_SESSION,
            SessionExists,
            SessionMismatch,
            has_body=True,
        ),
        openapi_extra={"requestBody": {"required": True} | BINARY},
    )
    async def import_session(
        tenant: Tenant,
        request: Request,
        session: Name,
        version: Annotated[
            str | None, Query(description="import onto this version, if its states have the same shapes")
        ] = None,
        replace: Replace = False,
        at: At = None,
        rewinds: Rewinds = None,
    ) -> SessionReply:
        """Create a session from an exported file. A file with any changed byte is refused.

        With `at` or `rewinds`, it replaces the live session that is so, and no other.
        """
        record = await resources.import_(
            tenant,
            check_session_name(session),
            await request.body(),
            version=version,
            replace_live=replace,
            expected=Expected.of(at, rewinds),
        )
        return describe(session, record, resources.now_ms())


def _add_copies(router: APIRouter, resources: Resources) -> None:
    @router.post(
        "/sessions/{session:path}/fork",
        status_code=201,
        responses=errors(
            *VALUES, *LIVE_SESSION, *NEW_SESSION, SessionExists, UnknownCheckpoint, has_body=True
        ),
    )
    async def fork_session(tenant: Tenant, session: Name, body: ForkSessionBody) -> SessionReply:
        """Create a second session that continues from this one's current step, or from a kept one."""
        to = check_session_name(body.to, "/to")
        record = await resources.fork(
            tenant,
            check_session_name(session),
            to,
            at=body.at,
            ttl_s=body.ttl_s,
            history=_rule(body.history),
        )
        return describe(to, record, resources.now_ms())

    @router.post(
        "/sessions/{session:path}/rewind",
        responses=errors(*VALUES, *LIVE_SESSION, SessionConflict, UnknownCheckpoint, has_body=True),
    )
    async def rewind_session(tenant: Tenant, session: Name, body: RewindSessionBody) -> SessionReply:
        """Return to an earlier step that is kept; the checkpoints after it are dropped.

        The steps after it are forgotten: fork the session first to keep them.
        """
        record = await resources.rewind(
            tenant, check_session_name(session), body.step, at=body.at, rewinds=body.rewinds
        )
        return describe(session, record, resources.now_ms())

    @router.post(
        "/sessions/{session:path}/migrate",
        responses=errors(*VALUES, *CHANGE, *MODEL, SessionMismatch, has_body=True),
    )
    async def migrate_session(tenant: Tenant, session: Name, body: MigrateSessionBody) -> SessionReply:
        """Continue with another version of the model, whose states have the same shapes.

        Nothing is replayed: the new version continues from the state that the old one computed.
        """
        record = await resources.migrate(
            tenant,
            check_session_name(session),
            body.version,
            expected=Expected.of(body.at, body.rewinds),
        )
        return describe(session, record, resources.now_ms())


def _add_session(router: APIRouter, resources: Resources, max_reply_bytes: int) -> None:
    @router.get(
        "/sessions/{session:path}",
        responses=errors(BAD_NAME, ReplyTooLarge, *LIVE_SESSION, *MODEL, SessionMismatch),
    )
    async def show_session(
        tenant: Tenant,
        session: Name,
        state: Annotated[bool, Query(description="true: include the recurrent tensors")] = False,
    ) -> SessionReply:
        """One live session."""
        record = await resources.read(tenant, check_session_name(session))
        reply = describe(session, record, resources.now_ms())
        if state:
            check_reply(len(record.state) * JSON_OF_A_BYTE, max_reply_bytes)
            tensors = resources.state_of(record)
            reply.state = {name: nested_list(array) for name, array in tensors.items()}
        return reply

    @router.put(
        "/sessions/{session:path}",
        status_code=201,
        responses=errors(
            *VALUES,
            *MODEL,
            UnknownState,
            *CHANGE,
            *NEW_SESSION,
            SessionExists,
            SessionNotSupported,
            has_body=True,
        ),
    )
    async def create_session(
        tenant: Tenant,
        session: Name,
        body: Annotated[CreateSessionBody, Body(default_factory=CreateSessionBody)],
        replace: Replace = False,
    ) -> SessionReply:
        """Create a session explicitly: with a state of your own, or with another time to live.

        With `at` or `rewinds`, it replaces the live session that is so, and no other.
        """
        record = await resources.create(
            tenant,
            check_session_name(session),
            model=body.model,
            version=body.version,
            state=body.state,
            step=body.step,
            ttl_s=body.ttl_s,
            history=_rule(body.history),
            replace_live=replace,
            expected=Expected.of(body.at, body.rewinds),
        )
        return describe(session, record, resources.now_ms())


def _add_changes(router: APIRouter, resources: Resources) -> None:
    @router.patch("/sessions/{session:path}", responses=errors(*VALUES, *CHANGE, has_body=True))
    async def change_session(tenant: Tenant, session: Name, body: PatchSessionBody) -> SessionReply:
        """Change the time to live, or which earlier states are kept; the idle time restarts at zero."""
        if body.ttl_s is None and body.history is None:
            raise InvalidField('expected "ttl_s" or "history"', pointer="")
        record = await resources.change(
            tenant,
            check_session_name(session),
            ttl_s=body.ttl_s,
            history=_rule(body.history),
            expected=Expected.of(body.at, body.rewinds),
        )
        return describe(session, record, resources.now_ms())

    @router.delete("/sessions/{session:path}", status_code=204, responses=errors(BAD_NAME, *CHANGE))
    async def delete_session(
        tenant: Tenant, session: Name, at: At = None, rewinds: Rewinds = None
    ) -> Response:
        """Delete a session. Its name can be used again."""
        await resources.delete(tenant, check_session_name(session), expected=Expected.of(at, rewinds))
        return Response(status_code=204)


def _rule(body: HistoryBody | None) -> HistoryRule | None:
    return None if body is None else HistoryRule(body.last, body.every or 0)
