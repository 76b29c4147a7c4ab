"""The page as a whole in a real Chromium: its key, its keyboard, its widths, its figures, and its setting."""

import hashlib
import itertools
from pathlib import Path

import httpx
from playwright.sync_api import expect

from tests.e2e.server import Server, running
from tests.e2e.ui.pages import Open, picture, send, serious

KEY = "correct-horse-battery-staple"
VIEWS = ("playground", "sessions", "server")


def test_the_server_is_seen_without_prometheus(open_page: Open, server: Server) -> None:
    page = open_page("server")
    expect(page.locator("#models")).to_contain_text("exact")
    expect(page.locator("#figures canvas")).to_have_count(4)
    httpx.post(f"{server.url}/predict", json={"sequences": [[[0.1] * 12]]})
    expect(page.locator("#figures")).to_contain_text("p99, ms: ")
    picture(page, "server")


def test_a_key_is_asked_for_and_used_for_requests_and_streams(open_page: Open, tmp_path: Path) -> None:
    with running(tmp_path, keys="acme=sha256:" + hashlib.sha256(KEY.encode()).hexdigest()) as server:
        page = open_page(at=server, may_fail=True)
        expect(page.locator("#problem")).to_contain_text("needs an API key")
        page.fill("#key", KEY)
        page.locator("#key").blur()
        expect(page.locator("#problem")).to_be_hidden()
        page.fill("#session", "mine")
        page.fill("#rate", "100")
        page.click("#stream")
        expect(page.locator("#answer")).to_contain_text("step 20 of session mine")
        assert KEY not in server.log.read_text()
        assert KEY not in (page.locator("#snippets").text_content() or "")


def test_nothing_serious_is_found_by_axe_and_nothing_is_cut_off(open_page: Open) -> None:
    for scheme, width in itertools.product(("light", "dark"), (360, 2560)):
        page = open_page(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        page.fill("#session", "shown")
        send(page)
        send(page, "#explain")
        for view in VIEWS:
            page.click(f"nav >> text={view.capitalize()}")
            if view == "sessions":
                page.click("[data-session=shown]")
                expect(page.locator("#strips canvas")).to_have_count(2)
            assert not serious(page), (scheme, width, view)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (view, width)


def test_the_page_is_used_by_keyboard_alone(open_page: Open) -> None:
    page = open_page()
    expect(page.locator("#model option")).to_have_count(1)
    for _ in range(300):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "send":
            break
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_have_text("3, 99.9 %")


def test_a_page_for_other_machines_needs_a_setting(tmp_path: Path) -> None:
    with running(tmp_path, ui="off") as server:
        assert httpx.get(f"{server.url}/ui").status_code == 404
