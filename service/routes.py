"""Everything but the hot path, as a FastAPI application: models, sessions, health, docs.

`POST /predict` is documented here and answered by `front`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_swagger import patch_fastapi

from service import oip_routes
from service.codec import SESSION_NAME
from service.errors import CellgateError, InvalidField, NotFound, StoreUnavailable
from service.front import App, retry_headers, write_problem, write_v2_error
from service.repository import Model, Repository
from service.schemas import (
    PREDICT_EXAMPLES,
    BatchingReply,
    HealthReply,
    ModelReply,
    ModelsReply,
    PredictBody,
    PredictReply,
    Problem,
    SessionReply,
    SessionsReply,
)
from service.sessions import Sessions, session_key
from service.store import Record

DESCRIPTION = """Serves recurrent sequence models and keeps their memory between requests.

Errors are `application/problem+json` (RFC 9457): `code` is stable, `pointer` leads to the value at fault."""

PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"description": "not JSON, or a bad header"},
    404: {"description": "unknown model, version or session"},
    409: {"description": "the session is at another step, or belongs to another model"},
    410: {"description": "the session is gone: ended, expired or evicted"},
    413: {"description": "body too large"},
    415: {"description": "not application/json"},
    422: {"description": "well-formed JSON that is not what the model takes"},
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


def build(
    repository: Callable[[], Repository],
    sessions: Callable[[], Sessions],
    is_ready: Callable[[], bool],
    *,
    max_sequences: int,
) -> App:
    """The FastAPI application. It asks for the parts at each request: they exist once the server runs."""
    app = FastAPI(
        title="Cellgate",
        version=version("cellgate"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        exception_handlers={
            CellgateError: _render,
            RequestValidationError: _render_validation,
            HTTPException: _render_http,
            404: _render_http,
            405: _render_http,
        },
    )
    patch_fastapi(app)  # /docs from files in the package: no third party's server, none of its scripts
    app.include_router(_prediction())
    app.include_router(_models(repository))
    app.include_router(_sessions(sessions))
    app.include_router(_health(is_ready, sessions))
    app.include_router(oip_routes.build(repository, is_ready, max_sequences=max_sequences))
    return app


def _prediction() -> APIRouter:
    router = APIRouter(tags=["prediction"])

    @router.post("/predict", response_model=PredictReply, responses=problems(*PROBLEMS.keys()))  # type: ignore[arg-type]
    async def predict(
        body: Annotated[PredictBody, Body(openapi_examples=PREDICT_EXAMPLES)],  # noqa: ARG001
    ) -> None:
        """Predict from one or many sequences, of any lengths, each stateless or the next part of a session.

        One bad sequence among many does not fail the others: its place holds `{"error": …}`.
        A request with a single sequence uses the HTTP status.
        """
        raise AssertionError("answered by service.front")

    return router


def _models(repository: Callable[[], Repository]) -> APIRouter:
    router = APIRouter(tags=["models"])

    @router.get("/models")
    async def list_models() -> ModelsReply:
        """All loaded models."""
        return ModelsReply(models=[_describe(model) for model in repository()])

    @router.get("/models/{name}", responses=problems(404))
    async def show_model(name: str) -> ModelsReply:
        """Every loaded version of one model."""
        return ModelsReply(models=[_describe(model) for model in repository().versions(name)])

    return router


def _sessions(sessions: Callable[[], Sessions]) -> APIRouter:
    router = APIRouter(tags=["sessions"])

    @router.get("/sessions", responses=problems(503))
    async def list_sessions(
        after: Annotated[str, Query(max_length=128, description="the last name of the page before")] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> SessionsReply:
        """Live sessions in order of name."""
        found = await sessions().page("", after=after, limit=limit)
        page = [_describe_session(name, record) for name, record in found]
        return SessionsReply(sessions=page, next=found[-1][0] if len(found) == limit else None)

    @router.get("/sessions/{session}", responses=problems(404, 410, 503))
    async def show_session(session: str) -> SessionReply:
        """One live session."""
        return _describe_session(session, await sessions().read(_key(session)))

    @router.delete("/sessions/{session}", status_code=204, responses=problems(404, 410, 503))
    async def delete_session(session: str) -> Response:
        """Forget a session. Its name is free again."""
        await sessions().delete(_key(session))
        return Response(status_code=204)

    return router


def _health(is_ready: Callable[[], bool], parts: Callable[[], Sessions]) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health/live")
    async def live() -> HealthReply:
        """200 as long as the process can answer at all."""
        return HealthReply(status="ok")

    @router.get("/health/ready", responses={503: {"model": HealthReply}})
    async def ready(
        response: Response,
        sessions: Annotated[bool, Query(description="false: do not ask for the session store")] = True,
    ) -> HealthReply:
        """200 only when `/predict` would answer."""
        if not is_ready():
            response.status_code = 503
            return HealthReply(status="not ready")
        try:
            if sessions:
                await parts().store.check()
        except StoreUnavailable as error:
            response.status_code = 503
            return HealthReply(status=f"not ready for sessions: {error.detail}")
        return HealthReply(status="ok")

    return router


def _key(session: str) -> bytes:
    if not SESSION_NAME.fullmatch(session):
        raise InvalidField('expected 1 to 128 printable ASCII characters without "/"')
    return session_key("", session)


def _describe(model: Model) -> ModelReply:
    manifest = model.manifest.model_dump(mode="json")
    scheduler = model.worker.scheduler
    return ModelReply(
        name=model.name,
        version=model.version,
        sessions=model.manifest.chunkable,
        provider=model.provider,
        exact=model.is_exact,
        max_difference=model.difference,
        batching=BatchingReply(
            calls=scheduler.counts.calls,
            sequences_per_call=round(scheduler.counts.occupancy, 3),
            steps=scheduler.counts.steps,
            padding=round(scheduler.counts.padding, 4),
            waiting=len(scheduler),
        ),
        **{field: manifest[field] for field in (
            "description", "task", "inputs", "outputs", "metrics", "example", "provenance",
        )},
    )  # fmt: skip


def _describe_session(name: str, record: Record) -> SessionReply:
    idle_s = max(0.0, datetime.now(UTC).timestamp() - record.touched_ms / 1000)
    return SessionReply(
        session=name,
        model=record.model,
        version=record.version,
        step=record.step,
        created=datetime.fromtimestamp(record.created_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        idle_s=round(idle_s, 3),
        expires_in_s=round(record.ttl_ms / 1000 - idle_s, 3),
        state_bytes=len(record.state),
    )


async def _render(request: Request, error: Exception) -> Response:
    """The error as the API of the path tells errors."""
    assert isinstance(error, CellgateError)
    is_v2 = _is_v2(request)
    status, body = write_v2_error(error) if is_v2 else write_problem(error)
    headers = {name.decode(): value.decode() for name, value in retry_headers(error)}
    return Response(body, status, headers, "application/json" if is_v2 else "application/problem+json")


def _is_v2(request: Request) -> bool:
    path = request.url.path
    return path == "/v2" or path.startswith("/v2/")


async def _render_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    where, *path = fault["loc"]
    return await _render(
        request, InvalidField(f"{where} parameter {'/'.join(map(str, path))}: {fault['msg']}")
    )


async def _render_http(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405, in the one form all errors have."""
    status = getattr(error, "status_code", 500)
    if status == 404:
        return await _render(request, NotFound(f"no route {request.url.path}; see /docs"))
    title = str(getattr(error, "detail", ""))
    code = "method_not_allowed" if status == 405 else "http"
    detail = f"{request.method} {request.url.path}: {title}"
    problem: dict[str, Any] = (
        {"error": detail, "code": code}
        if _is_v2(request)
        else {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail}
    )
    media_type = "application/json" if _is_v2(request) else "application/problem+json"
    return Response(orjson.dumps(problem), status, getattr(error, "headers", None), media_type)
