"""Sessions over HTTP: list, look, make, copy, move, forget. Stepping them is `/predict`'s.

The sessions of `/v2` are named `v2/<model>/<sequence id>`, so a name in a path may hold "/" here.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response

from service.api.errors import problems
from service.api.schemas import (
    CreateSessionBody,
    ForkSessionBody,
    MigrateSessionBody,
    PatchSessionBody,
    SessionReply,
    SessionsReply,
)
from service.names import check_session_name
from service.sequence import Array
from service.sessions.exported import MEDIA_TYPE
from service.sessions.resources import Resources
from service.sessions.store import Record

LAST_MS = 253_402_300_799_000  # the last second of the year 9999, beyond which `datetime` cannot tell


def _tenant(request: Request) -> str:
    """Whose key the request carries; "" where there are no keys."""
    tenant: str = getattr(request.state, "tenant", "")
    return tenant


Tenant = Annotated[str, Depends(_tenant)]
Name = Annotated[str, Path(description="the session's name")]
Replace = Annotated[bool, Query(description="true: take the place of a live session of that name")]
BINARY: dict[str, Any] = {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}


def build(resources: Callable[[], Resources]) -> APIRouter:
    """The routes below /sessions. They ask for the parts at each request: they exist once the server runs."""
    router = APIRouter(tags=["sessions"])
    _add_list(router, resources)
    _add_files(router, resources)  # before the others, whose names in a path may hold anything
    _add_moves(router, resources)
    _add_session(router, resources)
    return router


def _add_list(router: APIRouter, resources: Callable[[], Resources]) -> None:
    @router.get("/sessions", responses=problems(503))
    async def list_sessions(
        tenant: Tenant,
        after: Annotated[str, Query(max_length=300, description="`next` of the page before")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        model: Annotated[str | None, Query(description="only sessions of this model")] = None,
    ) -> SessionsReply:
        """Live sessions in order of name. A page may be short, even empty, and yet have a `next`."""
        page = await resources().page(tenant, after=after, limit=limit, model=model)
        return SessionsReply(
            sessions=[describe(name, record, resources().now_ms()) for name, record in page.sessions],
            next=page.next,
        )


def _add_files(router: APIRouter, resources: Callable[[], Resources]) -> None:
    @router.get(
        "/sessions/{session:path}/export",
        response_class=Response,
        responses={200: BINARY, **problems(404, 409, 410, 503)},
    )
    async def export_session(tenant: Tenant, session: Name) -> Response:
        """The session as a file with a checksum, its last request's reply included."""
        return Response(await resources().export(tenant, check_session_name(session)), media_type=MEDIA_TYPE)

    @router.put(
        "/sessions/{session:path}/import",
        status_code=201,
        responses=problems(404, 409, 413, 422, 503),
        openapi_extra={"requestBody": {"required": True} | BINARY},
    )
    async def import_session(
        tenant: Tenant,
        request: Request,
        session: Name,
        version: Annotated[
            str | None, Query(description="take it onto this version, if the states agree")
        ] = None,
        replace: Replace = False,
    ) -> SessionReply:
        """Take an exported session in. The file is refused whole if a bit of it differs."""
        record = await resources().import_(
            tenant, check_session_name(session), await request.body(), version=version, replace_live=replace
        )
        return describe(session, record, resources().now_ms())


def _add_moves(router: APIRouter, resources: Callable[[], Resources]) -> None:
    @router.post(
        "/sessions/{session:path}/fork", status_code=201, responses=problems(404, 409, 410, 422, 503)
    )
    async def fork_session(tenant: Tenant, session: Name, body: ForkSessionBody) -> SessionReply:
        """A second session that goes on from where this one is now."""
        to = check_session_name(body.to, "/to")
        record = await resources().fork(tenant, check_session_name(session), to, ttl_s=body.ttl_s)
        return describe(to, record, resources().now_ms())

    @router.post("/sessions/{session:path}/migrate", responses=problems(404, 409, 410, 422, 503))
    async def migrate_session(tenant: Tenant, session: Name, body: MigrateSessionBody) -> SessionReply:
        """Go on with another version of the model, whose states are shaped alike; nothing is replayed."""
        record = await resources().migrate(tenant, check_session_name(session), body.version)
        return describe(session, record, resources().now_ms())


def _add_session(router: APIRouter, resources: Callable[[], Resources]) -> None:
    @router.get("/sessions/{session:path}", responses=problems(404, 410, 503))
    async def show_session(
        tenant: Tenant,
        session: Name,
        state: Annotated[bool, Query(description="true: with the recurrent tensors")] = False,
    ) -> SessionReply:
        """One live session."""
        record = await resources().read(tenant, check_session_name(session))
        reply = describe(session, record, resources().now_ms())
        if state:
            tensors = resources().state_of(record)
            reply.state = {name: _listed(array) for name, array in tensors.items()}
        return reply

    @router.put("/sessions/{session:path}", status_code=201, responses=problems(404, 409, 422, 503))
    async def create_session(
        tenant: Tenant,
        session: Name,
        body: Annotated[CreateSessionBody, Body(default_factory=CreateSessionBody)],
        replace: Replace = False,
    ) -> SessionReply:
        """Begin a session on purpose: with a state of the client's own, or a life of another length."""
        record = await resources().create(
            tenant,
            check_session_name(session),
            model=body.model,
            version=body.version,
            state=body.state,
            step=body.step,
            ttl_s=body.ttl_s,
            replace_live=replace,
        )
        return describe(session, record, resources().now_ms())

    @router.patch("/sessions/{session:path}", responses=problems(404, 410, 422, 503))
    async def change_session(tenant: Tenant, session: Name, body: PatchSessionBody) -> SessionReply:
        """Change after how long it expires; its idle time begins anew."""
        record = await resources().set_ttl(tenant, check_session_name(session), body.ttl_s)
        return describe(session, record, resources().now_ms())

    @router.delete("/sessions/{session:path}", status_code=204, responses=problems(404, 410, 503))
    async def delete_session(tenant: Tenant, session: Name) -> Response:
        """Forget a session. Its name is free again."""
        await resources().delete(tenant, check_session_name(session))
        return Response(status_code=204)


def _listed(array: Array) -> Any:
    """Nested lists; null where a graph's own arithmetic has left a number that JSON does not have."""
    told = array.astype(object)
    told[~np.isfinite(array)] = None
    return told.tolist()


def describe(name: str, record: Record, now_ms: int) -> SessionReply:
    """What is told of a session, whatever is stored: one odd record must not spoil a whole list."""
    created = datetime.fromtimestamp(min(record.created_ms, LAST_MS) / 1000, UTC)
    idle_s = max(0.0, (now_ms - record.touched_ms) / 1000)
    return SessionReply(
        session=name,
        model=record.model,
        version=record.version,
        step=record.step,
        created=created.isoformat(timespec="milliseconds"),
        idle_s=round(idle_s, 3),
        expires_in_s=round(record.ttl_ms / 1000 - idle_s, 3),
        state_bytes=len(record.state),
    )
