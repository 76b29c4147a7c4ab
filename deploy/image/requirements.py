"""Print the requirements of the image: those of the extra `serve` in pyproject.toml, and of chosen extras.

    python requirements.py pyproject.toml "redis gpu"

Cellgate itself is not among them, so a change of its code does not reinstall its dependencies. Nor is what
only the Python client needs.
`gpu` replaces `onnxruntime`: both wheels unpack into the same folder, and the last one installed would win.
"""

import re
import sys
import tomllib
from pathlib import Path


def name(requirement: str) -> str:
    """The distribution that a requirement names: `redis>=5.2` → `redis`."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """Requirements with `extras`. Raises SystemExit for an extra that pyproject.toml does not have."""
    project = tomllib.loads(pyproject.read_text())["project"]
    optional: dict[str, list[str]] = project["optional-dependencies"]
    unknown = [extra for extra in extras if extra not in optional]
    if unknown:
        raise SystemExit(f"no such extra: {', '.join(unknown)}; extras: {', '.join(sorted(optional))}")
    all_lines = _expand(optional, ["serve", *extras])
    names = {name(requirement) for requirement in all_lines}
    replaced = {"onnxruntime"} if "onnxruntime-gpu" in names else set()
    return [requirement for requirement in all_lines if name(requirement) not in replaced]


def _expand(optional: dict[str, list[str]], extras: list[str]) -> list[str]:
    """The requirements of the extras and of the extras that they include, each once."""
    lines: dict[str, None] = {}
    for extra in extras:
        for line in optional[extra]:
            included = re.fullmatch(r"cellgate\[([\w,]+)\]", line)
            inner = _expand(optional, included[1].split(",")) if included else [line]
            lines |= dict.fromkeys(inner)
    return list(lines)


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(Path(sys.argv[1]), sys.argv[2].replace(",", " ").split())) + "\n")
