"""Holds the promises of docs/sessions.md to the tests that prove them.

A test proves a promise with `@pytest.mark.promise(number, …)`. A pytest session fails if it ran tests of a
promise and one of them failed, or none of them passed. With worker processes (pytest-xdist), the session that
started them decides, from all their reports.
"""

from collections import defaultdict

import pytest

MARKER = "promise(number, ...): the promises of docs/sessions.md that this test proves"
PROPERTY = "promise"


class Promises:
    """The tests of each promise in this pytest session, and their results."""

    def __init__(self) -> None:
        self._tests: defaultdict[int, set[str]] = defaultdict(set)  # node ids by promise
        self._passed: set[str] = set()
        self._failed: set[str] = set()

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Let the reports of a test, which are all that leaves a worker process, name its promises."""
        item.user_properties += [
            (PROPERTY, number) for mark in item.iter_markers("promise") for number in mark.args
        ]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a result. A skipped test, or one that is expected to fail, has not passed."""
        for name, number in report.user_properties:
            if name == PROPERTY and isinstance(number, int):
                self._tests[number].add(report.nodeid)
        if report.failed:
            self._failed.add(report.nodeid)
        elif report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
            self._passed.add(report.nodeid)

    def faults(self) -> list[str]:
        """Why promises are not proven by the tests that ran, in order."""
        return [
            f"promise {n}: {fault}" for n in sorted(self._tests) if (fault := self._fault(self._tests[n]))
        ]

    def _fault(self, tests: set[str]) -> str | None:
        failed = sorted(tests & self._failed)
        if failed:
            return f"failed: {', '.join(failed)}"
        if not tests & self._passed:
            return f"none of its {len(tests)} tests passed"
        return None

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session for a promise that is not proven."""
        if self.faults() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the promises that are not proven."""
        faults = self.faults()
        if faults:
            terminalreporter.section("promises of docs/sessions.md that are not proven", red=True)
            for fault in faults:
                terminalreporter.line(fault)
