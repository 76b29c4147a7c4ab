"""Where settings come from: flags override the environment, which overrides the file."""

import tomllib
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.errors import StartupError

PREFIX = "CELLGATE_"
# Variables with the prefix that are not settings: the settings file, training's data cache, and the client's.
NOT_SETTINGS = {"CELLGATE_CONFIG", "CELLGATE_DATA_DIR", "CELLGATE_URL", "CELLGATE_API_KEY"}

Sources = Mapping[str, Mapping[str, Any]]  # values by name, by the source; a later source overrides


def read(
    flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None, *, known: Container[str]
) -> Sources:
    """The values of each source. `file`: None: the one that `CELLGATE_CONFIG` names, if any.

    `known`: the names of settings. Raises StartupError if the file cannot be read.
    """
    path = file or (Path(environ["CELLGATE_CONFIG"]) if environ.get("CELLGATE_CONFIG") else None)
    return {
        f"file {path}": _read_file(path) if path else {},
        "environment": _read_environment(environ, known),
        "flags": {name: value for name, value in flags.items() if value is not None},
    }


def merge(sources: Sources) -> dict[str, Any]:
    """The values that count."""
    return {name: value for source in sources.values() for name, value in source.items()}


def explain(error: ValidationError, sources: Sources, *, secrets: Container[str]) -> str:
    """One sentence for each invalid option, with its source. Values of secrets are masked."""
    lines = []
    for fault in error.errors():
        if not fault["loc"]:  # concerns several options together
            lines.append(fault["msg"].removeprefix("Value error, "))
            continue
        name = str(fault["loc"][0])
        origin = [label for label, source in sources.items() if name in source][-1]
        message = "no such option" if fault["type"] == "extra_forbidden" else fault["msg"]
        shown = f"{PREFIX}{name.upper()}" if origin == "environment" else name
        value = "***" if name in secrets else repr(sources[origin][name])
        lines.append(f"{shown} = {value} (from {origin}): {message}")
    return "settings: " + "; ".join(lines)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise StartupError(f"settings file {path}: {error}") from error


def _read_environment(environ: Mapping[str, str], known: Container[str]) -> dict[str, str]:
    """Variables with the prefix. An empty one counts as unset (compose's `${X:-}`), an unknown one never."""
    settings = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in NOT_SETTINGS
    }
    return {name: value for name, value in settings.items() if value or name not in known}
