"""What the tests of the page share: where Chromium is, what a page shows, and its pictures. No tests."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Playwright, expect

from tests.e2e.server import Server

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PICTURES = os.environ.get("UI_PICTURES")  # a folder: the pictures of README and docs are written there
LIMIT_MS = 60_000.0  # it only ends a hang

Open = Callable[..., Page]


@contextlib.contextmanager
def launched(playwright: Playwright, *arguments: str) -> Iterator[Browser]:
    """A Chromium."""
    opened = playwright.chromium.launch(
        executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", *arguments]
    )
    yield opened
    opened.close()


def answer(page: Page) -> str:
    return page.inner_text("#answer")


def send(page: Page, button: str = "#send") -> None:
    page.click(button)
    expect(page.locator(button)).to_be_enabled()
    expect(page.locator("#problem")).to_be_hidden()


def state_of(server: Server, session: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/sessions/{session}?state=true").json()
    return found


def serious(page: Page) -> list[str]:
    """What axe finds that keeps people out."""
    violations = Axe().run(page).response["violations"]
    return [each["id"] for each in violations if each["impact"] in ("serious", "critical")]


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")
