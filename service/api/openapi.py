"""The documentation of the routes: the finished OpenAPI document, and the page that shows it.

FastAPI writes what it knows of a route. API keys, samples and the schema of errors are added here.
"""

import json
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi_swagger import patch_fastapi
from starlette.responses import HTMLResponse, RedirectResponse

from service.api import samples
from service.api.schemas import Problem
from service.api.v2_schemas import V2Error

_KEYS: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key, where keys are configured"},
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "the same key, in another header",
    },
}
_OPEN = re.compile(r"/health/|/v2/health/|/v2/models/.*/ready$")
_UNUSED = ("HTTPValidationError", "ValidationError")  # FastAPI's own form of an error, which is never sent


def add_docs(app: FastAPI) -> None:
    """Add `/docs`, from files in a package: the page loads nothing from other servers.

    Links are relative, so that they work below any prefix. Requests that the page sends go to the document's
    `servers`: FastAPI puts the scope's `root_path` there.
    """

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url="swagger/swagger-ui-bundle.js",
            swagger_css_url="swagger/swagger-ui.css",
            swagger_favicon_url="swagger/favicon-32x32.png",
            swagger_ui_parameters={"tryItOutEnabled": True, "filter": True, "displayRequestDuration": True},
        )

    @app.get("/", include_in_schema=False)
    async def root(request: Request) -> RedirectResponse:
        root_path = request.scope["root_path"]
        return RedirectResponse(f"{root_path}/docs" if root_path else "docs")

    patch_fastapi(app, redirect_from_root_to_docs=False)
    write = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = finish(write())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it


def finish(api: dict[str, Any]) -> dict[str, Any]:
    """Add what FastAPI does not know: API keys, samples, and the one schema of errors."""
    schemas = api.setdefault("components", {}).setdefault("schemas", {})
    for name in _UNUSED:
        schemas.pop(name, None)
    for schema in (Problem, V2Error):
        schemas[schema.__name__] = schema.model_json_schema()
    for name, sample in samples.BY_SCHEMA.items():
        schemas[name]["example"] = sample
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            _describe_default(field)
    api["components"]["securitySchemes"] = _KEYS
    for path, operations in api["paths"].items():
        for operation in operations.values():
            _finish_operation(path, operation)
    return api


def _describe_default(field: dict[str, Any]) -> None:
    """Move a default into the description: generators make a field that has one a required field."""
    default = field.pop("default", None)
    if default is None or default == [] or default == {} or "default" in field.get("description", ""):
        return
    field["description"] = "; ".join(
        filter(None, (field.get("description"), f"default: {json.dumps(default)}"))
    )


def _finish_operation(path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if any(name in str(responses.get("422")) for name in _UNUSED):
        del responses["422"]
    if not _OPEN.match(path):
        operation["security"] = [{}, *({name: []} for name in _KEYS)]
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            parameter["example"] = samples.PATH_PARAMETERS[parameter["name"]]
    if path in samples.BY_PATH:
        responses["200"]["content"]["application/json"]["example"] = samples.BY_PATH[path]
