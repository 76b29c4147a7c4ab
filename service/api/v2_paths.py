"""The models that the paths of `/v2` name: by default version, or by a version in the path."""

from collections.abc import Awaitable, Callable
from typing import Annotated, NamedTuple

from fastapi import Path, Request

from service.http import check_query
from service.names import model_name
from service.repository import Model, Repository

Name = Annotated[str, Path(description="`M:stateless` is the model M without sequences")]


class Asked(NamedTuple):
    """The model that a path names."""

    name: str  # as in the path: with the suffix that makes it stateless
    version: str | None

    @property
    def model(self) -> str:
        """The model's own name."""
        return model_name(self.name)

    def find(self, repository: Repository) -> Model:
        """Raises UnknownModel or UnknownVersion."""
        return repository.get(self.model, self.version)


async def _asked(name: Name) -> Asked:
    return Asked(name, None)


async def _asked_version(name: Name, version: str) -> Asked:
    return Asked(name, version)


# Each path with the dependency that reads its parameters: one that reads both would document an unused one.
PATHS: dict[str, Callable[..., Awaitable[Asked]]] = {
    "/models/{name}": _asked,
    "/models/{name}/versions/{version}": _asked_version,
}


async def refuse_version_in_query(request: Request) -> None:
    """A dependency of all routes. Raises InvalidField."""
    check_query(request.scope["query_string"])
