"""What import-linter (`make lint`) does not check: importing a module runs nothing."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "service").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_module_only_defines(path: Path) -> None:
    """No call, loop or `with` at the top level. (`__main__` ends with its own guard.)"""
    body = ast.parse((ROOT / path).read_text()).body
    statements = [node for node in body if isinstance(node, ast.Expr) and not _is_text(node)]
    loops = [node for node in body if isinstance(node, ast.For | ast.While | ast.With | ast.Try)]
    assert not statements and not loops


def _is_text(node: ast.Expr) -> bool:
    return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
