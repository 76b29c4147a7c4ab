"""Print what pip installs into the image: the dependencies of pyproject.toml and those of the chosen extras.

    python requirements.py pyproject.toml "redis gpu"

Apart from Cellgate itself, so that a change of its code does not install its dependencies again.
`gpu` replaces `onnxruntime`: both wheels unpack into the same folder, and the one that comes last would win.
"""

import re
import sys
import tomllib
from pathlib import Path


def name(requirement: str) -> str:
    """The distribution a requirement names: `redis>=5.2` → `redis`."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """What to install for `extras`. Raises SystemExit for an extra that pyproject.toml does not have."""
    project = tomllib.loads(pyproject.read_text())["project"]
    optional: dict[str, list[str]] = project["optional-dependencies"]
    unknown = [extra for extra in extras if extra not in optional]
    if unknown:
        raise SystemExit(f"no such extra: {', '.join(unknown)}; there are {', '.join(sorted(optional))}")
    wanted = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    names = {name(requirement) for requirement in wanted}
    replaced = {"onnxruntime"} if "onnxruntime-gpu" in names else set()
    return [requirement for requirement in wanted if name(requirement) not in replaced]


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(Path(sys.argv[1]), sys.argv[2].replace(",", " ").split())) + "\n")
