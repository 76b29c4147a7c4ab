"""A server, and a Chromium that opens its page; without Chromium, the tests of this folder are skipped.

Playwright keeps an event loop running in the thread of the tests, so it ends with the folder.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, expect, sync_playwright

from tests.e2e.server import Server, running
from tests.e2e.ui.pages import CHROMIUM, LIMIT_MS, Open, launched


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("ui")) as started:
        yield started


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """One for all browsers: a thread can have only one."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH")
    expect.set_options(timeout=LIMIT_MS)
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with launched(playwright) as opened:
        yield opened


@pytest.fixture
def open_page(browser: Browser, server: Server) -> Iterator[Open]:
    """Opens views; at the end, no page has reported an error."""
    faults: list[str] = []
    contexts = []

    def open_view(
        view: str = "playground", *, at: Server = server, may_fail: bool = False, **options: Any
    ) -> Page:
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(LIMIT_MS)

        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error" and not may_fail:
                faults.append(message.text)

        page.on("console", on_console)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{at.url}/ui#{view}")
        return page

    yield open_view
    for context in contexts:
        context.close()
    assert not faults
