"""The documentation of the routes: the OpenAPI document, finished, and the page that shows it.

FastAPI writes what it can see of a route. What the front does to every request, sizes, keys, bounds, and the
form of all errors are added here.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi_swagger import patch_fastapi
from starlette.responses import HTMLResponse, RedirectResponse

from service.api import samples
from service.api.schemas import Problem

_EVERYWHERE = {
    401: "an API key is needed, or this one is not known; only where keys are configured",
    429: "too many requests, or sessions, of this tenant; try again after Retry-After seconds",
    500: "our bug, or the graph's; the log has it under the request's id",
    503: "overloaded, stopping, or no room; try again after Retry-After seconds",
}
_WITH_BODY = {
    408: "the body did not arrive in time",
    413: "body too large",
    415: "not the type this route reads",
}
_KEYS: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key, where keys are configured"},
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "the same, in another header",
    },
}
_OPEN = ("/health/", "/v2/health/")
_UNUSED = ("HTTPValidationError", "ValidationError")  # FastAPI's form of an error, which is never sent


def add_docs(app: FastAPI) -> None:
    """`/docs` from files in a package: no third party's server, none of its scripts.

    Links are relative, so that they hold below any prefix and behind any proxy.
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
    async def root() -> RedirectResponse:
        return RedirectResponse("docs")

    patch_fastapi(app, redirect_from_root_to_docs=False)
    write = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = finish(write())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it


def finish(api: dict[str, Any]) -> dict[str, Any]:
    """Add what every route has in common: keys, and the errors that the front tells."""
    schemas = api.setdefault("components", {}).setdefault("schemas", {})
    for name in _UNUSED:
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    for name, sample in samples.BY_SCHEMA.items():
        schemas[name]["example"] = sample
    api["components"]["securitySchemes"] = _KEYS
    for path, operations in api["paths"].items():
        for operation in operations.values():
            _finish_operation(path, operation)
            if path in samples.BY_PATH:
                operation["responses"]["200"]["content"]["application/json"]["example"] = samples.BY_PATH[
                    path
                ]
    return api


def _finish_operation(path: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if path.startswith(_OPEN):
        responses.pop("422", None)
        return
    operation["security"] = [{}, *({name: []} for name in _KEYS)]
    if "422" in responses and any(name in str(responses["422"]) for name in _UNUSED):
        del responses["422"]
        _add(responses, path, 422, "a parameter is not what the route takes")
    for status, description in (_EVERYWHERE | (_WITH_BODY if "requestBody" in operation else {})).items():
        if str(status) not in responses:
            _add(responses, path, status, description)


def _add(responses: dict[str, Any], path: str, status: int, description: str) -> None:
    is_v2 = path.startswith("/v2")
    kind, schema = ("json", "V2Error") if is_v2 else ("problem+json", "Problem")
    content = {f"application/{kind}": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    responses[str(status)] = {"description": description, "content": content}
