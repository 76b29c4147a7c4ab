"""Imports run one way: a file may import only files on a line below its own, and nobody imports a trainer."""

import ast
import tomllib
from pathlib import Path

import pytest

LAYERS = """\
__main__
serve session_commands key_commands
app protocol supervisor
routes
front oip oip_routes session_routes
generate
predict problems resource openapi
schemas
samples
reload
repository
paired tensors
example
codec sessions worker
transfer
auth
store scheduler metrics propose logs cli
engine
resident
sampling
text
clock cost manifest numbers sequence settings
bodies cores cpus dialects
errors hangup shared
""".splitlines()
RANK = {name: rank for rank, line in enumerate(LAYERS) for name in line.split()}
ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "service").rglob("*.py"))
FOREIGN = {"torch", "training", "lightning", "onnx", "onnxscript", "sklearn"}


def imports(path: Path) -> set[str]:
    """Every dotted name a file imports, wherever in the file it does so."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: absolute imports only"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(path: Path) -> str:
    return path.relative_to("service").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", [path for path in FILES if part(path) != "__init__"], ids=str)
def test_imports_run_one_way(path: Path) -> None:
    me = part(path)
    others = {name.split(".")[1] for name in imports(path) if name.startswith("service.")} - {me}
    for other in others:
        assert RANK[me] < RANK[other], f"{path} must not import service.{other}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_serving_needs_no_trainer(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & FOREIGN


@pytest.mark.parametrize("path", FILES, ids=str)
def test_nothing_happens_at_import(path: Path) -> None:
    """A module defines; it does not call, loop or open. (`__main__` ends with its own guard.)"""
    body = ast.parse((ROOT / path).read_text()).body
    statements = [node for node in body if isinstance(node, ast.Expr) and not _is_text(node)]
    loops = [node for node in body if isinstance(node, ast.For | ast.While | ast.With | ast.Try)]
    assert not statements and not loops


def _is_text(node: ast.Expr) -> bool:
    return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def test_the_codec_of_the_json_face_knows_no_http() -> None:
    heart = ("codec", "scheduler", "sequence", "sessions", "engine", "worker", "manifest")
    for name in heart:
        assert not {n.split(".")[0] for n in imports(Path(f"service/{name}.py"))} & {"fastapi", "uvicorn"}


CONTRACTS = {
    contract["name"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
PARTS = {part(path) for path in FILES} - {"__init__"}


def needed(name: str) -> set[str]:
    """The part, and all of the service that it imports, directly or not."""
    direct = {
        other.split(".")[1] for other in imports(Path(f"service/{name}.py")) if other.startswith("service.")
    }
    return {name}.union(*map(needed, direct))


def test_no_part_is_forgotten_in_what_training_must_not_know() -> None:
    forbidden = CONTRACTS["training knows only the manifest of service"]["forbidden_modules"]
    assert sorted(forbidden) == sorted(f"service.{name}" for name in PARTS - needed("manifest"))


def test_no_part_is_forgotten_in_the_layers() -> None:
    layers = CONTRACTS["service imports run one way"]["layers"]
    assert sorted(" | ".join(layers).split(" | ")) == sorted(f"service.{name}" for name in PARTS)


def test_the_linter_forbids_the_service_what_this_test_forbids() -> None:
    forbidden = CONTRACTS["service never imports training, nor what trains"]["forbidden_modules"]
    assert set(forbidden) == FOREIGN


def test_no_compiled_class_inherits_from_one_that_is_not() -> None:
    """mypyc lets it, but weak references to such an object outlive it, and whoever follows one crashes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    compiled = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["compiled"]
    classes = [
        node
        for path in compiled
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    sound = {"Exception", "IntEnum", "Enum", "NamedTuple", "Protocol", *(node.name for node in classes)}
    assert len(classes) > 30
    assert {ast.unparse(base) for node in classes for base in node.bases} <= sound
