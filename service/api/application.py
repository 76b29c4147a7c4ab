"""The FastAPI application: models, sessions, health and documentation.

It raises every error as a `CellgateError`, and leaves it to the gate to render it. `POST /predict`,
`POST /generate` and `/v2`'s `infer` are only documented here.
"""

from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service.api import forecast, guide, health, metrics, models, openapi, predict, sessions, stream, ui, v2
from service.api import repository as repository_routes
from service.api import steering as steering_routes
from service.api.health import Readiness
from service.api.steering import IsAdmin
from service.errors import (
    BadRequest,
    CellgateError,
    InvalidField,
    MethodNotAllowed,
    NotFound,
    UnsupportedMediaType,
)
from service.metrics import Scrape
from service.repository import Repository, Steering
from service.sessions import Resources

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")  # HEAD is answered as GET

DESCRIPTION = """Serves recurrent sequence models and keeps their state between requests.

Errors are `application/problem+json` (RFC 9457): `code` is stable, `pointer` leads to the value at fault."""


def build(
    *,
    repository: Repository,
    resources: Resources,
    readiness: Readiness,
    steering: Steering,
    is_admin: IsAdmin,
    max_sequences: int,
    max_reply_bytes: int,
    serves_ui: bool,
    website: Path | None,
    scrape: Scrape,
) -> FastAPI:
    """The application around loaded models and an opened session store.

    `is_admin`: whether a tenant may steer versions; `serves_ui`: whether there is a page at `/ui`;
    `website`: the folder of the pages at `/docs/guide`, if there are any.
    """
    app = FastAPI(
        title="Cellgate",
        version=version("cellgate"),
        description=f"{DESCRIPTION}\n\n{guide.LINK}" if website else DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        exception_handlers={
            RequestValidationError: _raise_validation_error,
            HTTPException: _raise_http_error,
        },
    )
    openapi.add_docs(app)
    app.include_router(predict.build())
    app.include_router(forecast.build())
    app.include_router(stream.build())
    app.include_router(models.build(repository, scrape, steering))
    app.include_router(steering_routes.build(steering, resources, is_admin))
    app.include_router(sessions.build(resources, max_reply_bytes=max_reply_bytes))
    app.include_router(health.build(readiness))
    app.include_router(metrics.build(scrape))
    app.include_router(repository_routes.build(repository, steering, is_admin))
    app.include_router(ui.build(is_on=serves_ui))
    app.include_router(guide.build(website))
    app.include_router(v2.build(repository, readiness, scrape, max_sequences=max_sequences))
    return app


async def _raise_validation_error(request: Request, error: Exception) -> NoReturn:
    """FastAPI's error about a body or a parameter, as one of ours."""
    assert isinstance(error, RequestValidationError)
    content_type = request.headers.get("content-type", "")
    raise _translate_validation_error(error, content_type) from error


def _translate_validation_error(error: RequestValidationError, content_type: str) -> CellgateError:
    fault = error.errors()[0]
    where, *path = fault["loc"]
    if where != "body":
        return InvalidField(f"{where} parameter {'/'.join(map(str, path))}: {fault['msg']}")
    if not path and content_type.partition(";")[0] != "application/json":
        return UnsupportedMediaType(f"expected application/json, got {content_type!r}")
    return InvalidField(fault["msg"], pointer="".join(f"/{part}" for part in path))


def _methods_of(request: Request) -> list[str]:
    """Every method of a path. A route has one method, and the framework names that of the first route."""

    def has_route(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    methods = [method for method in METHODS if has_route(method)]
    return ["GET", "HEAD", *methods[1:]] if methods[:1] == ["GET"] else methods


async def _raise_http_error(request: Request, error: Exception) -> NoReturn:
    """An error of Starlette's own, such as that of a path without a route, as one of ours."""
    assert isinstance(error, HTTPException)
    path, detail = request.url.path, f"{request.method} {request.url.path}: {error.detail}"
    if error.status_code == 404:
        raise NotFound(f"no route {path}; see /docs") from error
    if error.status_code == 405:
        raise MethodNotAllowed(detail, allow=_methods_of(request)) from error
    raise BadRequest(detail) from error
