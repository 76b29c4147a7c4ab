"""Every promise of docs/sessions.md has tests, and a session of pytest that runs some must prove it.

Which tests there are is read from the source.
"""

import ast
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = (
    (TESTS.parent / "docs" / "sessions.md").read_text().partition("## The promises")[2].partition("\n## ")[0]
)
ROWS = re.findall(r"^\| (\d+) \| .* \| ([^|]*) \|$", TABLE, re.MULTILINE)
NUMBERS = [int(number) for number, _ in ROWS]


def marked_in(source: str) -> list[tuple[int, str]]:
    """Promise and name of every test in a file's source that is marked for a promise."""
    return [
        (number.value, node.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.promise"
        for number in decorator.args
        if isinstance(number, ast.Constant) and isinstance(number.value, int)
    ]


def test_the_table_names_exactly_the_marked_tests() -> None:
    marked: defaultdict[int, set[str]] = defaultdict(set)
    for path in TESTS.rglob("test_*.py"):
        for number, name in marked_in(path.read_text()):
            marked[number].add(f"{path.name}::{name}")
    assert list(range(1, 14)) == NUMBERS
    assert {int(n): set(re.findall(r"`(test_\w+\.py::test_\w+)`", cell)) for n, cell in ROWS} == marked


TESTS_OF_A_SESSION = """
import pytest

@pytest.mark.promise(1)
@pytest.mark.parametrize("n", range(6))
def test_passes(n): ...

@pytest.mark.promise(1, 2, 4)
@pytest.mark.skip
def test_is_skipped(): ...

@pytest.mark.promise(2)
@pytest.mark.xfail(strict=False)
def test_is_expected_to_fail(): ...

@pytest.mark.promise(3)
def test_also_passes(): ...

@pytest.mark.promise(3)
def test_fails(): assert FAILS
"""
FAULTS = [
    "promise 2: none of its 2 tests passed",
    "promise 4: none of its 1 tests passed",
]


def run(folder: Path, fails: bool, *options: str) -> tuple[int, list[str]]:
    """A pytest session of these tests: its exit status, and the promises it calls not proven."""
    (folder / "test_it.py").write_text(TESTS_OF_A_SESSION.replace("FAILS", str(not fails)))
    (folder / "conftest.py").write_text(
        "from tests.promises import MARKER, Promises\n\n"
        "def pytest_configure(config):\n"
        "    config.addinivalue_line('markers', MARKER)\n"
        "    config.pluginmanager.register(Promises())\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), *options]
    environ = os.environ | {"PYTHONPATH": str(TESTS.parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    return done.returncode, re.findall(r"^promise \d+: .*", done.stdout, re.MULTILINE)


def test_a_session_fails_for_a_promise_without_a_passed_test_or_with_a_failed_one(tmp_path: Path) -> None:
    failed = ["promise 3: failed: test_it.py::test_fails"]
    assert run(tmp_path, True) == (1, [FAULTS[0], *failed, FAULTS[1]])
    assert run(tmp_path, False, "-p", "xdist", "--numprocesses=2") == (1, FAULTS)
    assert run(tmp_path, False, "-k", "passes") == (0, []), "no test of 2 and 4 was selected"


def test_marks_are_read_from_the_source() -> None:
    source = "@pytest.mark.promise(1, 2)\n@pytest.mark.slow\ndef test_a(): ...\n\ndef test_b(): ...\n"
    assert marked_in(source) == [(1, "test_a"), (2, "test_a")]
