"""`/sessions`: list, show, create, fork, rewind, migrate, export, import and delete.

`/predict` runs their steps. Those of `/v2` are named `v2/<model>/<sequence id>`, so a name in a path may
contain "/" here.
"""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Response

from service.api import session_files
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
from service.api.session_parameters import (
    BAD_NAME,
    CHANGE,
    At,
    Name,
    Replace,
    Rewinds,
    Tenant,
    check_query,
)
from service.api.session_paths import SessionRoute
from service.api.session_replies import describe, nested_list
from service.codec.sizes import check_reply
from service.errors import (
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
from service.names import check_session_name
from service.sessions import Expected, HistoryRule, Resources

JSON_OF_A_BYTE = 7  # characters, at most: "false," of a boolean; 26 of the 8 bytes of a float64
BAD_LIMIT = InvalidField("query parameter limit: Input should be greater than or equal to 1")


def build(resources: Resources, *, max_reply_bytes: int) -> APIRouter:
    """The routes below /sessions."""
    router = APIRouter(tags=["sessions"], route_class=SessionRoute, dependencies=[Depends(check_query)])
    _add_list(router, resources)
    # Those of files are before the others, whose names in a path may contain anything.
    session_files.add_routes(router, resources)
    _add_copies(router, resources)
    _add_migrate(router, resources)
    _add_show(router, resources, max_reply_bytes)
    _add_create(router, resources)
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


def _add_migrate(router: APIRouter, resources: Resources) -> None:
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


def _add_show(router: APIRouter, resources: Resources, max_reply_bytes: int) -> None:
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


def _add_create(router: APIRouter, resources: Resources) -> None:
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
