"""What a run is: a file, a model, an output; checked before anything is computed.

It knows paths, settings and manifests; it computes nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from service.errors import StartupError
from service.names import MODEL_NAME, MODEL_VERSION
from service.repository.folders import find_versions

Format = Literal["ndjson", "csv", "parquet"]
_FORMATS: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@dataclass(slots=True, frozen=True)
class Job:
    """The arguments of a run."""

    model: str  # a version's folder, or NAME or NAME/VERSION
    file: Path
    output: Path
    key: str | None = None  # the column that tells the sequences of a table apart
    returns: Literal["last", "all"] | None = None  # None: by the model's task
    url: str = ""  # of a server; "": the engine in processes of its own
    api_key: str = ""
    at_once: int = 0  # processes, or requests; 0: one for each CPU


class Summary(NamedTuple):
    """What a run has done."""

    num_sequences: int  # in the output
    num_failed: int
    num_before: int  # of them answered by earlier runs
    seconds: float


def format_of(path: Path) -> Format:
    """The format of a file, by its name. Raises StartupError."""
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        raise StartupError(f"{path}: expected a name that ends with one of {', '.join(_FORMATS)}")
    return found


def find_folder(model: str, models_dir: Path) -> Path:
    """The folder of a version: named itself, or by NAME or NAME/VERSION in `models_dir`.

    A name alone is the highest version, unless a policy may say otherwise. Raises StartupError.
    """
    folder = Path(model)
    if (folder / "model.json").is_file():
        return folder
    name, _, version = model.partition("/")
    if not MODEL_NAME.fullmatch(name) or (version and not MODEL_VERSION.fullmatch(version)):
        raise StartupError(f"{model!r} is neither a folder with model.json nor NAME or NAME/VERSION")
    versions = [found for found in find_versions(models_dir) if found.parent.name == name]
    if not versions:
        raise StartupError(f"no model {name!r} in {models_dir.resolve()}")
    if not version:
        if (versions[-1].parent / "policy.json").exists():
            listed = ", ".join(f"{name}/{found.name}" for found in versions)
            raise StartupError(f"{name} has a policy, so name the version: {listed}")
        return versions[-1]
    for found in versions:
        if found.name == version:
            return found
    raise StartupError(f"no version {version} of {name} in {models_dir.resolve()}")
