"""The modules that pyproject.toml lists as `compiled`, and a check that Python imports their compiled form.

    python -m deploy.image.compiled     # in a folder with the compiled service; exit status 1 if one is not

It does not know how they are compiled (deploy/compile.py).
"""

import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def compiled_modules(pyproject: Path = PYPROJECT) -> list[str]:
    """Names of the modules: `service/engine/scheduler.py` is `service.engine.scheduler`."""
    wheel = tomllib.loads(pyproject.read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    paths: list[str] = wheel.get("hooks", {}).get("custom", {}).get("compiled", [])
    return sorted(path.removesuffix(".py").replace("/", ".") for path in paths)


def is_compiled(module: str) -> bool:
    """Whether an import of the module loads an extension module."""
    spec = find_spec(module)
    return spec is not None and str(spec.origin).endswith(".so")


if __name__ == "__main__":
    not_compiled = [module for module in compiled_modules() if not is_compiled(module)]
    sys.stdout.write(f"not compiled: {', '.join(not_compiled) or 'none'}\n")
    sys.exit(bool(not_compiled))
