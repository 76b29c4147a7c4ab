"""`/sessions/{session}/export` and `import`: a session as a file."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from service.api.errors import LIVE_SESSION, MODEL, NEW_SESSION, errors
from service.api.schemas import SessionReply
from service.api.session_parameters import BAD_NAME, CHANGE, At, Name, Replace, Rewinds, Tenant
from service.api.session_replies import describe
from service.errors import BadExport, InvalidField, SessionExists, SessionMismatch
from service.names import check_session_name, file_of_session
from service.sessions import MEDIA_TYPE, Expected, Resources

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


def add_routes(router: APIRouter, resources: Resources) -> None:
    """Add both."""
    _add_export(router, resources)
    _add_import(router, resources)


def _add_export(router: APIRouter, resources: Resources) -> None:
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


def _add_import(router: APIRouter, resources: Resources) -> None:
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
