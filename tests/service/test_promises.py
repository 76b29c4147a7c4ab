"""Every promise of docs/sessions.md is proven in this session, by tests that ran and passed.

The file runs last, see `tests/promises.py`. In a session that runs no test of a promise, the promise is
skipped; that some test exists is then read from the source.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.promises import Promises

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
    assert list(range(1, 12)) == NUMBERS
    assert {int(n): set(re.findall(r"`(test_\w+\.py::test_\w+)`", cell)) for n, cell in ROWS} == marked


@pytest.mark.parametrize("number", NUMBERS)
def test_a_promise_is_kept(request: pytest.FixtureRequest, number: int) -> None:
    promises = request.config.pluginmanager.get_plugin("promises")
    assert isinstance(promises, Promises)
    if not promises.is_selected(number):
        pytest.skip(f"no test of promise {number} was selected")
    assert promises.fault(number) is None


def session_of(*results: tuple[str, int, str]) -> Promises:
    """What a pytest session with these tests reports: name, promise, outcome of the call."""
    promises = Promises()
    items: list[Any] = [
        SimpleNamespace(nodeid=name, iter_markers=lambda _, n=number: [pytest.mark.promise(n).mark])
        for name, number, _ in results
    ]
    session: Any = SimpleNamespace(items=items)
    promises.pytest_collection_finish(session)
    for name, _, outcome in results:
        report: Any = SimpleNamespace(
            nodeid=name, when="call", failed=outcome == "failed", passed=outcome == "passed"
        )
        if outcome == "xpassed":
            report.passed, report.wasxfail = True, ""
        promises.pytest_runtest_logreport(report)
    return promises


@pytest.mark.parametrize(
    ("outcomes", "fault"),
    [
        (["passed"], None),
        (["passed", "skipped"], None),
        (["passed", "failed"], "failed: t1"),
        (["skipped"], "none of its 1 selected tests ran and passed"),
        (["xpassed"], "none of its 1 selected tests ran and passed"),
        (["not run", "not run"], "none of its 2 selected tests ran and passed"),
    ],
)
def test_a_promise_without_a_passed_test_or_with_a_failed_one_is_not_kept(
    outcomes: list[str], fault: str | None
) -> None:
    promises = session_of(*((f"t{i}", 3, outcome) for i, outcome in enumerate(outcomes)), ("x", 4, "passed"))
    assert promises.fault(3) == fault
    assert promises.fault(4) is None
    assert not promises.is_selected(5)


def test_marks_are_read_from_the_source() -> None:
    source = "@pytest.mark.promise(1, 2)\n@pytest.mark.slow\ndef test_a(): ...\n\ndef test_b(): ...\n"
    assert marked_in(source) == [(1, "test_a"), (2, "test_a")]
