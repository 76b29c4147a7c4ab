"""Build hook: the wheel with what a request goes through compiled by mypyc, mypy's compiler.

    HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 pip install .

It needs a C compiler and Python's headers. The wheel holds the Python files too; without the hook it holds
nothing else, and serves the same answers more slowly. https://mypyc.readthedocs.io
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Compile(BuildHookInterface[Any]):
    """Compiles the files that pyproject.toml lists as `compiled`, in a copy: the tree stays as it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before the wheel: make extension modules, and have them put in beside the Python files."""
        self.work = Path(tempfile.mkdtemp())
        if version == "editable":  # where Python imports the working tree, whatever lies beside it
            return
        try:
            self._compile(build_data)
        except BaseException:
            shutil.rmtree(self.work, ignore_errors=True)
            raise

    def _compile(self, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        shutil.copytree(
            root / "service", self.work / "service", ignore=shutil.ignore_patterns("__pycache__", "*.so")
        )
        shutil.copy(root / "pyproject.toml", self.work)  # mypy's settings
        command = [sys.executable, "-m", "mypyc", *self.config["compiled"]]
        made = subprocess.run(
            command, cwd=self.work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if made.returncode:
            needs = "a C compiler and Python's headers (Debian: apt-get install gcc libc6-dev python3-dev)"
            raise RuntimeError(f"{made.stdout[-10_000:]}\nmypyc failed; it needs {needs}")
        for module in [*self.work.glob("*.so"), *self.work.glob("service/**/*.so")]:
            build_data["force_include"][str(module)] = str(module.relative_to(self.work))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """After the wheel."""
        shutil.rmtree(self.work, ignore_errors=True)
