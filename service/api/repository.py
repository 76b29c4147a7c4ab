"""The model repository extension of the Open Inference Protocol: what is loaded, load, unload."""

from typing import Any

from fastapi import APIRouter, Depends, Request

from service.api.errors import errors
from service.api.steering import IsAdmin, admin_only
from service.codec.fields import parse_object
from service.errors import Forbidden, InvalidField, InvalidJson, ModelLoading, ReadOnlyModels, UnknownModel
from service.http import V2
from service.repository import Repository, Steering

DONE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"example": {}}}}}
CHANGES = (InvalidJson, InvalidField, Forbidden, UnknownModel, ModelLoading, ReadOnlyModels)


def _body(example: dict[str, Any]) -> dict[str, Any]:
    """The documentation of an optional body, which the routes read themselves."""
    content = {"schema": {"type": "object"}, "example": example}
    return {"requestBody": {"content": {"application/json": content}}}


def _refuse_parameters(body: bytes) -> None:
    if body and parse_object(body).get("parameters"):
        raise InvalidField("a model is loaded as its folder is: parameters such as config are not supported")


def build(repository: Repository, steering: Steering, is_admin: IsAdmin) -> APIRouter:
    """The routes below /v2/repository."""
    router = APIRouter(prefix="/v2/repository", tags=["open inference protocol"])
    admin = [Depends(admin_only(is_admin))]

    @router.post(
        "/index",
        responses=errors(InvalidJson, InvalidField, has_body=True, dialect=V2),
        openapi_extra=_body({"ready": True}),
    )
    async def list_models(request: Request) -> list[dict[str, str]]:
        """Every version of every model. `{"ready": true}`: only the loaded ones."""
        body = await request.body()
        is_short = bool(body) and parse_object(body).get("ready") is True
        loaded = [_entry(model.name, model.version, "READY") for model in repository]
        unloaded = [
            _entry(name, version, "UNAVAILABLE", "unloaded")
            for name, version in steering.unloaded()
            if (name, version) not in repository
        ]
        return loaded if is_short else sorted(loaded + unloaded, key=lambda each: each["name"])

    @router.post(
        "/models/{name}/load",
        responses=errors(*CHANGES, has_body=True, dialect=V2) | DONE,
        dependencies=admin,
        openapi_extra=_body({}),
    )
    async def load_model(name: str, request: Request) -> dict[str, Any]:
        """Load the versions in a model's folder. The reply leaves once all workers serve them."""
        _refuse_parameters(await request.body())
        await steering.load(name)
        return {}

    @router.post(
        "/models/{name}/unload",
        responses=errors(*CHANGES, has_body=True, dialect=V2) | DONE,
        dependencies=admin,
        openapi_extra=_body({}),
    )
    async def unload_model(name: str) -> dict[str, Any]:
        """Unload every version of a model, also after restarts. Its sessions stay stored."""
        if not await steering.unload(name):
            raise ModelLoading(f"model {name!r} is not unloaded yet")
        return {}

    return router


def _entry(name: str, version: str, state: str, reason: str = "") -> dict[str, str]:
    return {"name": name, "version": version, "state": state, "reason": reason}
