"""All loaded models, by name and version, and which of them answers a request that names no version."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from service.errors import StartupError, UnknownModel, UnknownVersion
from service.repository.folders import list_versions
from service.repository.model import Model
from service.repository.opening import VersionLoader
from service.repository.trial import TrialFailure

logger = logging.getLogger(__name__)


class Repository:
    """Loaded models. The highest version of a name is its default.

    A version whose folder has been deleted is retired: it is no longer a default, but still answers requests
    that name it, sessions above all, until none has done so for a while.
    """

    def __init__(self, models: list[Model]) -> None:
        self._models: dict[str, dict[str, Model]] = {}
        self._retired: dict[tuple[str, str], float] = {}  # when a request last named it
        for model in models:
            self.add(model)

    @classmethod
    def load(cls, root: Path, loader: VersionLoader, *, skips_faulty: bool = False) -> "Repository":
        """Load every version below `root`; with `skips_faulty`, a faulty one is logged and left out.

        One that would harm the server is always left out: that may depend on the machine.
        Raises StartupError, naming the folder, for a faulty version, or if there is none that can be served.
        """
        models = []
        for folder in list_versions(root):
            try:
                models.append(loader.load(folder))
            except (StartupError, OSError) as error:  # OSError: the folder is being deleted
                if not skips_faulty and not isinstance(error, TrialFailure):
                    raise
                logger.error("not served: %s", error)
        if not models:
            raise StartupError(f"no model in {root.resolve()} can be served")
        return cls(models)

    def add(self, model: Model) -> Model | None:
        """Serve a model. Returns the model it replaces, which is still running, if there is one."""
        versions = self._models.setdefault(model.name, {})
        replaced = versions.get(model.version)
        versions[model.version] = model
        self._models[model.name] = dict(sorted(versions.items(), key=lambda item: int(item[0])))
        self._models = dict(sorted(self._models.items()))
        self._retired.pop((model.name, model.version), None)
        return replaced

    def retire(self, name: str, version: str, now: float) -> None:
        """Serve a version only to requests that name it. A version that is not loaded is ignored."""
        if version in self._models.get(name, {}):
            self._retired.setdefault((name, version), now)

    def take_idle(self, before: float) -> list[Model]:
        """Remove the retired versions that no request has named since `before`. They are still running."""
        idle = [key for key, last_named in self._retired.items() if last_named < before]
        models = []
        for name, version in idle:
            del self._retired[name, version]
            models.append(self._models[name].pop(version))
            if not self._models[name]:
                del self._models[name]
        return models

    def is_retired(self, model: Model) -> bool:
        """Whether the version answers only requests that name it."""
        return (model.name, model.version) in self._retired

    def __iter__(self) -> Iterator[Model]:
        for versions in self._models.values():
            yield from versions.values()

    def get(self, name: str | None = None, version: str | None = None) -> Model:
        """A model by name (optional if only one is loaded) and version (default: the highest).

        Raises UnknownModel or UnknownVersion.
        """
        if name is None:
            if len(self._models) != 1:
                names = ", ".join(self._models)
                raise UnknownModel(
                    f'several models are loaded; set "model" to one of {names}', pointer="/model"
                )
            name = next(iter(self._models))
        versions = self._models.get(name)
        if versions is None:
            raise UnknownModel(f"no model {name!r}; there are {', '.join(self._models)}", pointer="/model")
        if version is None:
            return self._default(name, versions)
        if (name, version) in self._retired:
            self._retired[name, version] = time.monotonic()
        if version not in versions:
            raise UnknownVersion(
                f"no version {version!r} of {name}; there are {', '.join(versions)}", pointer="/version"
            )
        return versions[version]

    def _default(self, name: str, versions: dict[str, Model]) -> Model:
        if self._retired:
            versions = {key: model for key, model in versions.items() if (name, key) not in self._retired}
            if not versions:
                raise UnknownModel(
                    f"every version of model {name!r} is retired; name a version to use it", pointer="/model"
                )
        return versions[next(reversed(versions))]

    def versions(self, name: str) -> list[Model]:
        """All versions of one model, lowest first. Raises UnknownModel."""
        if name not in self._models:
            raise UnknownModel(f"no model {name!r}; there are {', '.join(self._models)}")
        return list(self._models[name].values())

    @property
    def is_alive(self) -> bool:
        """Whether every model would answer."""
        return all(model.worker.is_alive for model in self)

    async def stop(self) -> None:
        """Finish the queued sequences of every model."""
        for model in list(self):
            await model.worker.stop()
