"""`models/<name>/policy.json`, the one place of truth for which versions of a model answer which requests.

    {"schema_version": 1, "default": "production", "aliases": {"production": "2", "staging": "3"},
     "canary": {"version": "3", "weight": 0.05}, "shadow": "4", "unloaded": false, "previous": "1"}

It knows files and version numbers; it knows nothing of what is loaded: `agreement` decides what follows.
"""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import ReadOnlyModels
from service.file_lock import locked
from service.names import MODEL_ALIAS, MODEL_NAME, MODEL_VERSION
from service.repository.folders import describe_faults

FILE = "policy.json"
HIGHEST = "highest"
MAX_BYTES = 1 << 20

logger = logging.getLogger(__name__)

Version = Annotated[str, Field(pattern=f"^{MODEL_VERSION.pattern}$")]
Alias = Annotated[str, Field(pattern=f"^{MODEL_ALIAS.pattern}$")]


class Canary(BaseModel):
    """A version that some of the new sessions start on."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    version: str = Field(description="a version, or an alias")
    weight: float = Field(ge=0, le=1, description="the share of new sessions")


class Policy(BaseModel):
    """Which versions of one model answer which requests. Without a file: the highest answers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    schema_version: Literal[1] = Field(1, description="of this format")
    default: str = Field(
        HIGHEST, description='of requests that name no version: "highest", a version, or an alias'
    )
    aliases: dict[Alias, Version] = Field({}, description="names that can stand wherever a version can")
    canary: Canary | None = None
    shadow: str | None = Field(
        None, description="a version, or an alias, that computes each session a second time, for comparison"
    )
    unloaded: bool = Field(False, description="true: no version is loaded, requests get 404")
    previous: Version | None = Field(
        None, description="the default before the last promotion, for a rollback"
    )

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        if HIGHEST in self.aliases:
            raise ValueError(f'aliases: "{HIGHEST}" cannot be an alias')
        canary = self.canary.version if self.canary else None
        named = {"default": self.default, "canary.version": canary, "shadow": self.shadow}
        for field, name in named.items():
            if name is None or name in self.aliases or MODEL_VERSION.fullmatch(name):
                continue
            if field != "default" or name != HIGHEST:
                raise ValueError(f"{field}: {name!r} is neither a version nor one of the aliases")
        return self

    def resolve(self, name: str) -> str:
        """The version that an alias or a version names."""
        return self.aliases.get(name, name)


class Policies:
    """The policies of a models directory, as last read by this process."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._valid: dict[str, Policy] = {}  # by model; of a file with a fault, the last without
        self.faults: dict[str, str] = {}  # by model
        self.num_changes = 0

    def read(self) -> None:
        """Read every file again. A faulty one changes nothing; it is logged once."""
        valid, faults = dict[str, Policy](), dict[str, str]()
        for name, found in _read_all(self._root):
            if isinstance(found, Policy):
                valid[name] = found
                continue
            faults[name] = found
            if self.faults.get(name) != found:
                logger.error("%s; nothing changes until it is corrected", found)
            if name in self._valid:
                valid[name] = self._valid[name]
        if valid != self._valid:
            self.num_changes += 1
        self._valid, self.faults = valid, faults

    def get(self, name: str) -> Policy | None:
        """The policy of a model; None while its file has never been valid."""
        return self._valid.get(name) or (None if name in self.faults else Policy())

    def fault(self, name: str) -> str | None:
        """What is wrong with a model's file, with its place in the models directory."""
        fault = self.faults.get(name)
        return None if fault is None else fault.removeprefix(f"{self._root}/")

    def names(self) -> list[str]:
        """The models that have a file."""
        return sorted({*self._valid, *self.faults})

    def unloaded(self) -> frozenset[str]:
        """The models that are not to be loaded."""
        return frozenset(name for name, policy in self._valid.items() if policy.unloaded)


def read_policy(folder: Path) -> Policy | None:
    """The policy in a model's folder; None if there is no file. Raises ValueError, naming file and field."""
    file = folder / FILE
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ValueError(f"{file}: expected at most {MAX_BYTES} bytes")
        return Policy.model_validate_json(text)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    except ValidationError as error:
        raise ValueError(f"{file}: {'; '.join(describe_faults(error))}") from error


def change_policy(folder: Path, change: Callable[[Policy], Policy]) -> Policy:
    """Replace the policy with what `change` makes of it, one process after the other.

    A faulty file counts as none. Raises ReadOnlyModels, or what `change` raises.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder))
        except OSError as error:
            raise ReadOnlyModels(f"{folder}: {error.strerror}") from error
        try:
            policy = read_policy(folder) or Policy()
        except ValueError:
            policy = Policy()
        changed = change(policy)
        write_policy(folder, changed)
        return changed


def write_policy(folder: Path, policy: Policy) -> None:
    """Replace the file in one step. Raises ReadOnlyModels where that is not possible."""
    document: dict[str, Any] = {"schema_version": 1} | policy.model_dump(exclude_defaults=True)
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=f".{FILE}.", delete=False) as new:
            try:
                json.dump(document, new, indent=2)
                new.write("\n")
                new.flush()
                os.fsync(new.fileno())
                os.chmod(new.name, 0o644)
                os.replace(new.name, folder / FILE)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(new.name)
                raise
    except OSError as error:
        raise ReadOnlyModels(f"{folder / FILE} cannot be written: {error.strerror}") from error


def _read_all(root: Path) -> Iterator[tuple[str, Policy | str]]:
    """Each model that has a file: its policy, or what is wrong with it."""
    for folder in sorted(root.glob("*")):
        if not MODEL_NAME.fullmatch(folder.name):
            continue
        try:
            policy = read_policy(folder)
        except ValueError as error:
            yield folder.name, str(error)
        else:
            if policy is not None:
                yield folder.name, policy
