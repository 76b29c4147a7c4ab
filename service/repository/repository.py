"""All loaded models, by name and version, and which of them answers a request that names no version."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from service.errors import ModelLoading, StartupError, UnknownModel, UnknownVersion
from service.repository.choice import Agreed, Choice, is_in_canary
from service.repository.folders import list_versions
from service.repository.model import Model
from service.repository.opening import VersionLoader
from service.repository.trial import TrialFailure

logger = logging.getLogger(__name__)

Key = tuple[str, str]  # name and version


class Repository:
    """Loaded models. The highest version of a name is its default, unless workers agree on another choice.

    A version whose folder has been deleted is retired: it is no longer a default, but still answers requests
    that name it, sessions above all, until none has done so for a while.
    """

    def __init__(self, models: list[Model]) -> None:
        self._models: dict[str, dict[str, Model]] = {}
        self._retired: dict[Key, float] = {}  # when a request last named it
        self._agreed: Mapping[str, Agreed] = {}
        self.has_shadows = False  # whether any model has one
        self._unserved: dict[Key, str] = {}  # found on disk: "loading" or "failed"
        self.read_expected: Callable[[], frozenset[Key]] = frozenset  # that other workers serve or load
        for model in models:
            self.add(model)

    @classmethod
    def load(
        cls,
        root: Path,
        loader: VersionLoader,
        *,
        skips_faulty: bool = False,
        unloaded: Collection[str] = (),
    ) -> "Repository":
        """Load every version below `root`; with `skips_faulty`, a faulty one is logged and left out.

        `unloaded`: the models that are not to be loaded.

        One that would harm the server is always left out: that may depend on the machine.
        Raises StartupError, naming the folder, for a faulty version, or if there is none that can be served.
        """
        models = []
        folders = [folder for folder in list_versions(root) if folder.parent.name not in unloaded]
        for folder in folders:
            try:
                models.append(loader.load(folder))
            except (StartupError, OSError) as error:  # OSError: the folder is being deleted
                if not skips_faulty and not isinstance(error, TrialFailure):
                    raise
                logger.error("not served: %s", error)
        if folders and not models:
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
        self._unserved.pop((model.name, model.version), None)
        return replaced

    def retire(self, name: str, version: str, now: float) -> None:
        """Serve a version only to requests that name it. A version that is not loaded is ignored."""
        if version in self._models.get(name, {}):
            self._retired.setdefault((name, version), now)

    def idle(self, before: float) -> list[Model]:
        """The retired versions that no request has named since `before`."""
        return [
            self._models[name][version]
            for (name, version), named in self._retired.items()
            if named < before and version not in self.choice(name).named
        ]

    def remove(self, model: Model) -> None:
        """Serve a version no longer. It is still running."""
        self._retired.pop((model.name, model.version), None)
        del self._models[model.name][model.version]
        if not self._models[model.name]:
            del self._models[model.name]

    def postpone(self, model: Model, now: float) -> None:
        """Keep a retired version as if a request had named it at `now`."""
        if self.is_retired(model):
            self._retired[model.name, model.version] = now

    def mark(self, name: str, version: str, status: str | None) -> None:
        """A version on disk that is not served: it is "loading", has "failed", or (None) is there no more."""
        if status is None:
            self._unserved.pop((name, version), None)
        else:
            self._unserved[name, version] = status

    def statuses(self) -> dict[str, dict[str, str]]:
        """By name and version: "served", "retired", "loading" or "failed"."""
        found: dict[str, dict[str, str]] = {}
        for (name, version), status in self._unserved.items():
            found.setdefault(name, {})[version] = status
        for model in self:
            status = "retired" if self.is_retired(model) else "served"
            found.setdefault(model.name, {})[model.version] = status
        return found

    def agree(self, agreed: Mapping[str, Agreed]) -> None:
        """Follow what all workers have agreed on."""
        self._agreed = agreed
        self.has_shadows = any(
            choice.shadow is not None for each in agreed.values() for choice in (each.current, each.previous)
        )

    def is_retired(self, model: Model) -> bool:
        """Whether the version answers only requests that name it."""
        return (model.name, model.version) in self._retired

    def is_default(self, model: Model) -> bool:
        """Whether the version answers requests that name none."""
        try:
            return self._default(model.name, self._models[model.name]) is model
        except UnknownModel:  # all have retired
            return False

    def __contains__(self, key: Key) -> bool:
        """Whether a version is loaded."""
        name, version = key
        return version in self._models.get(name, {})

    def __iter__(self) -> Iterator[Model]:
        for versions in self._models.values():
            yield from versions.values()

    def get(self, name: str | None = None, version: str | None = None) -> Model:
        """A model by name (optional if only one is loaded) and version or alias (default: by its policy).

        Raises UnknownModel, UnknownVersion or ModelLoading.
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
            self._refuse_unloaded(name)
            if self.is_expected(name, version):
                raise ModelLoading(f"model {name!r} is being loaded")
            raise UnknownModel(f"no model {name!r}; there are {', '.join(self._models)}", pointer="/model")
        if version is None:
            return self._default(name, versions)
        if name in self._agreed:
            self._refuse_unloaded(name)
            version = self.choice(name).aliases.get(version, version)
        if (name, version) in self._retired:
            self._retired[name, version] = time.monotonic()
        if version not in versions:
            if self.is_expected(name, version):
                raise ModelLoading(f"version {version} of {name} is being loaded")
            raise UnknownVersion(
                f"no version {version!r} of {name}; there are {', '.join(versions)}", pointer="/version"
            )
        return versions[version]

    def get_for_session(self, model: Model, tenant: str, session: str) -> Model:
        """The version that a new session starts on whose request names none: `model`, or the canary."""
        canary = self.canary_for(model.name, tenant, session)
        return model if canary is None else self._models[model.name][canary]

    def canary_for(self, name: str, tenant: str, session: str) -> str | None:
        """The version of a model's canary, if it is loaded and a new session is to start on it."""
        if name not in self._agreed:
            return None
        choice = self.choice(name)
        if choice.canary not in self._models.get(name, {}):
            return None
        return choice.canary if is_in_canary(choice.weight, name, tenant, session) else None

    def choice(self, name: str) -> Choice:
        """Which versions answer which requests now."""
        agreed = self._agreed.get(name)
        if agreed is None:
            return Choice()
        return agreed.current if time.monotonic() >= agreed.at else agreed.previous

    def is_unloaded(self, name: str) -> bool:
        """Whether no version of a model is to be served."""
        return self.choice(name).is_unloaded

    def _refuse_unloaded(self, name: str) -> None:
        if self.is_unloaded(name):
            raise UnknownModel(f"model {name!r} is unloaded", pointer="/model")

    def is_expected(self, name: str, version: str | None) -> bool:
        """Whether a version (None: any) that this worker does not serve is served or being loaded by any."""
        loading = (key for key, status in self._unserved.items() if status == "loading")
        return any(key[0] == name and version in (None, key[1]) for key in (*self.read_expected(), *loading))

    def is_ahead(self, name: str, version: str) -> bool:
        """Whether a version is higher than all that are loaded: another replica may have it already."""
        return all(int(version) > int(loaded) for loaded in self._models.get(name, {}))

    def _default(self, name: str, versions: dict[str, Model]) -> Model:
        agreed = self._agreed.get(name)
        if agreed is not None:
            choice = agreed.current if time.monotonic() >= agreed.at else agreed.previous
            if choice.default in versions:  # even a retired one, until all workers change at once
                return versions[choice.default]
            self._refuse_unloaded(name)
            if choice.is_unknown:
                raise ModelLoading(f"the policy of {name} has a fault, see the log; name one of its versions")
            if choice.wanted is not None:
                raise ModelLoading(
                    f"the default version of {name} is {choice.default or choice.wanted} by its policy, and "
                    f"it is not loaded; there are {', '.join(versions)}"
                )
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
