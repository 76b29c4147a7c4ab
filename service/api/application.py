"""Everything but the hot path, as a FastAPI application: models, sessions, health, docs.

`POST /predict` and `POST /generate` are documented here and answered by `front`.
"""

import logging
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError

from service.api import sessions as session_routes
from service.api import v2 as oip_routes
from service.api.errors import PROBLEMS, AskStore, CheckReady, problems
from service.api.openapi import add_docs
from service.api.schemas import (
    GENERATE_EXAMPLES,
    PREDICT_EXAMPLES,
    BatchingReply,
    GenerateBody,
    GenerateReply,
    HealthReply,
    ModelReply,
    ModelsReply,
    PredictBody,
    PredictReply,
)
from service.errors import (
    UNFORESEEN,
    CellgateError,
    Draining,
    InternalError,
    InvalidField,
    InvalidJson,
    NotFound,
    UnsupportedMediaType,
)
from service.http.dialects import retry_headers, write_problem, write_v2_error
from service.http.gate import App, Message, Receive, Scope, Send
from service.repository import Model, Repository
from service.sessions.resources import Resources
from service.sessions.store import Store

logger = logging.getLogger(__name__)

JSON = "application/json"
DESCRIPTION = """Serves recurrent sequence models and keeps their memory between requests.

Errors are `application/problem+json` (RFC 9457): `code` is stable, `pointer` leads to the value at fault."""


def build(
    repository: Callable[[], Repository],
    store: Store,
    resources: Callable[[], Resources],
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
    app.add_middleware(_Answered)

    async def check_ready(sessions: bool) -> None:
        if not is_ready():
            raise Draining("the server is starting or stopping")
        if sessions:
            await store.check()

    add_docs(app)
    app.include_router(_prediction())
    app.include_router(_models(repository))
    app.include_router(session_routes.build(resources))
    app.include_router(_health(check_ready))
    app.include_router(oip_routes.build(repository, check_ready, max_sequences=max_sequences))
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
        raise AssertionError("answered by service.http.gate")

    @router.post("/generate", response_model=GenerateReply, responses=problems(*PROBLEMS.keys()))  # type: ignore[arg-type]
    async def generate(
        body: Annotated[GenerateBody, Body(openapi_examples=GENERATE_EXAMPLES)],  # noqa: ARG001
    ) -> None:
        """Let a language model go on from a prompt, token by token, stateless or within a session.

        The same seed gives the same text. All that was generated is part of the session, and counts as steps.
        """
        raise AssertionError("answered by service.http.gate")

    return router


def _models(repository: Callable[[], Repository]) -> APIRouter:
    router = APIRouter(tags=["models"])

    @router.get("/models")
    async def list_models() -> ModelsReply:
        """All loaded models."""
        return ModelsReply(models=_describe_all(repository(), list(repository())))

    @router.get("/models/{name}", responses=problems(404))
    async def show_model(name: str) -> ModelsReply:
        """Every loaded version of one model."""
        return ModelsReply(models=_describe_all(repository(), repository().versions(name)))

    return router


def _health(check_ready: CheckReady) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.head("/health/live", include_in_schema=False)
    @router.get("/health/live")
    async def live() -> HealthReply:
        """200 as long as the process can answer at all."""
        return HealthReply(status="ok")

    @router.head("/health/ready", include_in_schema=False)
    @router.get("/health/ready", responses=problems(503))
    async def ready(sessions: AskStore = True) -> HealthReply:
        """200 only when `/predict` would answer."""
        await check_ready(sessions)
        return HealthReply(status="ok")

    return router


def _describe_all(repository: Repository, models: list[Model]) -> list[ModelReply]:
    return [_describe(model, repository.is_retired(model)) for model in models]


def _describe(model: Model, is_retired: bool) -> ModelReply:
    manifest = model.manifest.model_dump(mode="json")
    scheduler = model.worker.scheduler
    return ModelReply(
        retiring=is_retired,
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
    """FastAPI's complaint about a body or a parameter, as one of ours."""
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    where, *path = fault["loc"]
    ours: CellgateError
    if fault["type"] == "json_invalid":
        ours = InvalidJson(f"the body is not JSON: {fault['ctx']['error']}")
    elif where != "body":
        ours = InvalidField(f"{where} parameter {'/'.join(map(str, path))}: {fault['msg']}")
    elif (
        not path and (kind := request.headers.get("content-type", "")).partition(";")[0] != "application/json"
    ):
        ours = UnsupportedMediaType(f"expected application/json, got {kind!r}")
    else:
        ours = InvalidField(fault["msg"], pointer="".join(f"/{part}" for part in path))
    return await _render(request, ours)


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


class _Answered:
    """The routes; an error that nobody foresaw is logged, and answered 500 in the form of all errors."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            if has_begun:  # with a status: only the connection is left to tell it by
                raise
            request = Request(scope)
            logger.exception("request %s failed", getattr(request.state, "request_id", ""))
            response = await _render(request, InternalError(UNFORESEEN))
            await response(scope, receive, send)
