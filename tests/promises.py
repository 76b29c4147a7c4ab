"""Holds the promises of docs/sessions.md to the tests that prove them.

A test proves a promise with `@pytest.mark.promise(number, …)`. `test_promises.py` runs after all other tests
of the session, and asks this plugin whether the tests of a promise ran and passed.
"""

from collections import defaultdict

import pytest

MARKER = "promise(number, ...): the promises of docs/sessions.md that this test proves"
LAST_FILE = "test_promises.py"


class Promises:
    """Which tests of each promise were selected in this pytest session, and their results."""

    def __init__(self) -> None:
        self._selected: defaultdict[int, list[str]] = defaultdict(list)  # node ids by promise
        self._passed: set[str] = set()
        self._failed: set[str] = set()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Run the file that asks for the results last."""
        items.sort(key=lambda item: item.path.name == LAST_FILE)  # stable

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the marked tests, after all deselection."""
        for item in session.items:
            for marker in item.iter_markers("promise"):
                for number in marker.args:
                    self._selected[number].append(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a result. A skipped test, or one that is expected to fail, has not passed."""
        if report.failed:
            self._failed.add(report.nodeid)
        elif report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
            self._passed.add(report.nodeid)

    def is_selected(self, number: int) -> bool:
        """Whether this session runs a test of the promise."""
        return bool(self._selected[number])

    def fault(self, number: int) -> str | None:
        """Why the promise is not proven by the tests so far; None if it is."""
        selected = self._selected[number]
        failed = [nodeid for nodeid in selected if nodeid in self._failed]
        if failed:
            return f"failed: {', '.join(failed)}"
        if not any(nodeid in self._passed for nodeid in selected):
            return f"none of its {len(selected)} selected tests ran and passed"
        return None
