"""Shell scripts parse and print their usage; no tracked file names a package registry."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [".ci/run", ".ci/engine"]
# A mirror or a proxy is set once, in the configuration of apt, pip or Docker.
REGISTRIES = re.compile(
    r"\b(pypi\.org|pythonhosted\.org|[a-z]+\.debian\.org|registry[\w-]*\.docker\.io|docker\.io/|"
    r"(ghcr|gcr|quay)\.io|public\.ecr\.aws|registry\.npmjs)",
    re.IGNORECASE,
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_parse_and_are_executable(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    assert subprocess.run(["bash", "-n", ROOT / name], capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_stop_at_the_first_error(name: str) -> None:
    assert "\nset -euo pipefail\n" in (ROOT / name).read_text()


@pytest.mark.parametrize("arguments", [[], ["up"], ["sideways", "folder"]])
def test_the_engine_script_prints_its_usage(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run([ROOT / ".ci/engine", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert ".ci/engine up DIR" in done.stdout


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listing.splitlines() if (ROOT / line).is_file()]


def test_no_tracked_file_names_a_registry() -> None:
    names = {
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked()
        if b"\0" not in (content := path.read_bytes())
        for match in REGISTRIES.finditer(content.decode(errors="replace"))
    }
    assert not names
