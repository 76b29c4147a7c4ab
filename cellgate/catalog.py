"""The models of a server, read when a call needs one of them for the first time."""

from urllib.parse import quote

import httpx

from cellgate.errors import BadReply, UnknownModel, UnknownVersion
from cellgate.flow import Flow, Send
from cellgate.models import Model, model_of
from cellgate.replies import parse
from cellgate.retry import Retry, exchange


def list_models(retry: Retry, name: str | None = None) -> Flow[tuple[Model, ...]]:
    """Every loaded version of one model, or of all. Raises UnknownModel."""
    path = "/models" if name is None else f"/models/{quote(name, safe='')}"
    response: httpx.Response = yield from exchange(Send("GET", path), retry)
    try:
        return tuple(model_of(entry) for entry in parse(response)["models"])
    except (KeyError, TypeError) as error:
        raise BadReply(f"GET {path}: no description of models: {error!r}") from error


class Catalog:
    """What is known of the server's models. A version never changes; which one is the default may."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._models: dict[tuple[str, str], Model] = {}
        self._only: str | None = None  # the model that requests without a name get

    def find(self, name: str | None, version: str | None = None) -> Flow[Model]:
        """The version that a request would get. Raises UnknownModel or UnknownVersion."""
        if (known := self._known(name or self._only, version)) is not None:
            return known
        models = yield from list_models(self._retry, name)
        self._models |= {(model.name, model.version): model for model in models}
        names = sorted({model.name for model in models})
        if name is None:
            self._only = _only(names)
        for model in models:
            if model.answers(version):
                return model
        raise UnknownVersion(f"the model {names[0]!r} has no version {version!r}")

    def _known(self, name: str | None, version: str | None) -> Model | None:
        """None: ask the server, also what an alias stands for: it may have moved."""
        if version is not None:
            return self._models.get((name or "", version))
        versions = (model for model in self._models.values() if model.name == name)
        return next((model for model in versions if model.default), None)


def _only(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    what = (
        f"several models are loaded; set model to one of {', '.join(names)}"
        if names
        else "no model is loaded"
    )
    raise UnknownModel(what, members={"pointer": "/model"})
