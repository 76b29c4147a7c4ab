"""The models that the paths of `/v2` name: by default version, or by a version in the path."""

from collections.abc import Awaitable, Callable
from typing import Annotated, NamedTuple

from fastapi import Path, Request

from service.http import check_query
from service.names import model_name
from service.repository import Model, Repository

Name = Annotated[str, Path(description="`M:stateless` is the model M without sequences")]


class Selection(NamedTuple):
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


async def _selection(name: Name) -> Selection:
    return Selection(name, None)


async def _selection_of_version(name: Name, version: str) -> Selection:
    return Selection(name, version)


# Each path with the dependency that reads its parameters: one that reads both would document an unused one.
PATHS: dict[str, Callable[..., Awaitable[Selection]]] = {
    "/models/{name}": _selection,
    "/models/{name}/versions/{version}": _selection_of_version,
}


async def refuse_version_in_query(request: Request) -> None:
    """A dependency of all routes. Raises InvalidField."""
    check_query(request.scope["query_string"])
