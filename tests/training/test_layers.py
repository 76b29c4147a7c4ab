"""Imports run one way: a file may import only files on a line below its own."""

import ast
from pathlib import Path

import pytest

LAYERS = """
__main__
commands
seeds sweep scores compress
run baselines served explain
export figures
loop
progress evaluate posted
tasks
sampling
model batches lag
front tail
encoders
cells
data graph
config errors
"""
RANK = {name: rank for rank, line in enumerate(LAYERS.splitlines()) for name in line.split()}
FILES = sorted(Path("training").rglob("*.py"))


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: absolute imports only"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(path: Path) -> str:
    return path.relative_to("training").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", [path for path in FILES if part(path) != "__init__"], ids=str)
def test_imports_run_one_way(path: Path) -> None:
    me = part(path)
    for other in {name.split(".")[1] for name in imports(path) if name.startswith("training.")} - {me}:
        assert RANK[me] < RANK[other], f"{path} must not import training.{other}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_training_knows_only_the_manifest_of_the_service(path: Path) -> None:
    of_service = {name for name in imports(path) if name.startswith("service")}
    assert all(name.startswith("service.manifest.") for name in of_service)
