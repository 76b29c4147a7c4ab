"""The page at /ui in a real Chromium: its views clicked through, by keyboard, at any width."""

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.e2e.server import ROOT, Server, running
from tests.service import text_models
from tests.service.text_models import TEXTS
from training.data import tokens

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PICTURES = os.environ.get("UI_PICTURES")  # a folder: the pictures of README and docs are written there
KEY = "correct-horse-battery-staple"
LIMIT_MS = 60_000.0  # it only ends a hang
VIEWS = ("playground", "sessions", "server")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("ui")) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=LIMIT_MS)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield opened
        opened.close()


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


def answer(page: Page) -> str:
    return page.inner_text("#answer")


def send(page: Page, button: str = "#send") -> None:
    page.click(button)
    expect(page.locator(button)).to_be_enabled()
    expect(page.locator("#problem")).to_be_hidden()


def state_of(server: Server, session: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/sessions/{session}?state=true").json()
    return found


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def test_the_example_is_answered_and_the_same_request_works_elsewhere(
    open_page: Open, server: Server
) -> None:
    page = open_page()
    send(page)
    assert answer(page) == "3, 99.9 %"
    shown = json.loads(page.locator("#reply").text_content() or "")
    assert shown["predictions"][0]["label"][-1] == "3"
    for summary in page.locator("#snippets summary").all():
        summary.click()
    curl, python, body = (page.locator("#snippets pre").nth(number).inner_text() for number in range(3))
    assert "Copy has all of them" in curl, "a long request is shortened, and copied as a whole"
    page.click("text=JSON or CSV")
    header = [f"lpc_cepstrum_{n}" for n in range(12, 0, -1)]
    page.fill("#json", "\n".join([",".join(["when", *header]), *["noon,0.5" + ",0.1" * 11] * 2]))
    page.locator("#json").blur()
    send(page)
    curl, python, body = (
        page.locator("#snippets pre").nth(number).text_content() or "" for number in range(3)
    )
    assert json.loads(body)["sequences"][0]["steps"] == [[0.1] * 11 + [0.5]] * 2, "by the names of the header"
    by_curl = json.loads(subprocess.check_output(["sh", "-c", curl], text=True))
    assert by_curl == httpx.post(f"{server.url}/predict", content=body).json()
    printed = subprocess.check_output([sys.executable, "-c", python], text=True, cwd=ROOT)
    assert by_curl["predictions"][0]["label"][-1] in printed


def test_values_are_edited_in_a_grid_pasted_and_drawn(open_page: Open) -> None:
    page = open_page()
    page.locator("#input input").first.fill("0.875")
    page.locator("#input input").first.blur()
    send(page)
    body = page.locator("#snippets pre").nth(2)
    assert '"steps":[[0.875,' in (body.text_content() or "")
    page.click("text=Draw")
    place = page.locator("#drawing").bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + 60, place["y"] + 10)
    page.mouse.down()
    page.mouse.move(place["x"] + place["width"] - 12, place["y"] + 10, steps=20)
    page.mouse.up()
    page.click("text=JSON or CSV")
    drawn = [row[0] for row in json.loads(page.input_value("#json"))]
    assert min(drawn) > 0.8 and len(set(drawn)) < 4, "along the top of the drawing"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("1,2\n3,x", 'row 2, column 2: "x" is not a number'),
        ("1,NA\n3,4", 'row 1, column 2: "NA" is not a number'),
        ("1,1e999", 'row 1, column 2: "1e999" is not a number'),
        ("lpc_cepstrum_1,other\n1,2", 'the header has no column "lpc_cepstrum_2", or has it twice'),
        (" ", "there are no steps"),
    ],
)
def test_what_is_no_sequence_is_not_sent_nor_is_the_one_before(
    open_page: Open, written: str, message: str
) -> None:
    page = open_page()
    page.click("text=JSON or CSV")
    page.fill("#json", written)
    page.click("#send")
    expect(page.locator("#problem")).to_have_text(message)
    assert answer(page) == "Nothing was sent yet."


def test_pieces_and_a_stream_continue_one_session(open_page: Open, server: Server) -> None:
    page = open_page()
    page.fill("#session", "talk")
    page.fill("#size", "3")
    page.check("#record")
    send(page, "#pieces")
    assert answer(page) == "3, 99.9 % · step 20 of session talk"
    page.fill("#rate", "100")
    page.click("#stream")
    expect(page.locator("#answer")).to_contain_text("step 40 of session talk")
    picture(page, "playground")
    page.click("nav >> text=Sessions")
    expect(page.locator("#strips h4").first).to_have_text("h: 128 units, 27 states since step 3")
    picture(page, "sessions")
    page.locator("#strips canvas").first.hover(position={"x": 30, "y": 4})
    expect(page.locator("#strips .hint").first).to_have_text("step 6, unit 1: " + short(page, server))


def short(page: Page, server: Server) -> str:
    """The value under the mouse, from the state of a session that has had the same steps."""
    name = "talk-twin"
    example = httpx.get(f"{server.url}/models/vowels").json()["models"][0]["example"]["steps"]
    httpx.post(f"{server.url}/predict", json={"sequences": [{"steps": example[:6], "session": name}]})
    value: str = page.evaluate("value => value.toPrecision(4)", state_of(server, name)["state"]["h"][0][1])
    httpx.delete(f"{server.url}/sessions/{name}")
    return value


def test_a_stream_resumes_after_its_worker_was_killed(open_page: Open, tmp_path: Path) -> None:
    with running(tmp_path, workers="2") as server:
        page = open_page(at=server, may_fail=True)
        page.fill("#session", "tough")
        page.fill("#rate", "20")
        page.click("#stream")
        expect(page.locator("#answer")).to_contain_text("of session tough")
        expect(page.locator("#model")).to_be_disabled()
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        expect(page.locator("#answer")).to_have_text("3, 99.9 % · step 20 of session tough")
        example = httpx.get(f"{server.url}/models/vowels").json()["models"][0]["example"]["steps"]
        httpx.post(f"{server.url}/predict", json={"sequences": [{"steps": example, "session": "whole"}]})
        assert state_of(server, "tough")["state"] == state_of(server, "whole")["state"]


def test_a_session_is_forked_rewound_edited_exported_imported_and_deleted(
    open_page: Open, server: Server, tmp_path: Path
) -> None:
    page = open_page()
    page.fill("#session", "life")
    send(page)
    page.click("nav >> text=Sessions")
    page.click("[data-session=life]")
    page.click("#history")
    expect(page.locator("#history")).to_be_enabled()
    page.click("nav >> text=Playground")
    send(page)
    page.click("nav >> text=Sessions")
    expect(page.locator("#facts dd").nth(1)).to_have_text("40")
    expect(page.locator("#rewind-step option")).to_have_text(["20"])
    page.fill("#fork-name", "life-2")
    page.click("#fork")
    expect(page.locator("#selected")).to_have_text("life-2")
    page.fill("#compare", "life")
    page.locator("#compare").blur()
    expect(page.locator("#strips canvas").first).to_have_attribute(
        "aria-label", "difference of h: 128 units, 1 state since step 40; largest value 1.000e-9"
    )
    page.select_option("#rewind-step", "20")
    page.click("#rewind")
    expect(page.locator("#facts dd").nth(1)).to_have_text("20")
    assert state_of(server, "life-2")["step"] == 20 and state_of(server, "life")["step"] == 40
    page.select_option("#edit-tensor", "c")
    page.fill("#edit-unit", "3")
    page.fill("#edit-value", "0.25")
    page.click("#edit")
    expect(page.locator("#edit")).to_be_enabled()
    before = state_of(server, "life-2")
    assert before["state"]["c"][0][3] == 0.25 and before["step"] == 20
    with page.expect_download() as started:
        page.click("#export")
    started.value.save_as(file := tmp_path / "copy.cellgate")
    page.set_input_files("#import", file)
    expect(page.locator("#selected")).to_have_text("copy")
    assert state_of(server, "copy")["state"] == before["state"]
    page.click("#delete")
    expect(page.locator("#inspector")).to_contain_text("Deleted")
    assert httpx.get(f"{server.url}/sessions/copy").status_code == 404


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
        for view in VIEWS:
            page.click(f"nav >> text={view.capitalize()}")
            if view == "sessions":
                page.click("[data-session=shown]")
                expect(page.locator("#strips canvas")).to_have_count(2)
            violations = Axe().run(page).response["violations"]
            serious = [each["id"] for each in violations if each["impact"] in ("serious", "critical")]
            assert not serious, (scheme, width, view, serious)
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


def test_a_language_model_writes_token_by_token(open_page: Open, tmp_path: Path) -> None:
    root = tmp_path / "models"
    text_models.write(root, "letters", tokens.learn_characters(TEXTS))
    with running(tmp_path, models_dir=str(root)) as server:
        page = open_page(at=server)
        page.fill("#text", "the cat ")
        page.fill("#session", "story")
        page.fill("#tokens", "25")
        page.click("#generate")
        expect(page.locator("#stop")).to_be_disabled()
        expect(page.locator("#reply")).to_contain_text('"step": ')
        assert len(page.locator("#generated").text_content() or "") == 25
        page.fill("#text", "and ")
        send(page)
        expect(page.locator("#answer")).to_contain_text("of session story")


def test_an_example_is_shown_as_a_text_that_has_its_tokens(open_page: Open, tmp_path: Path) -> None:
    root = tmp_path / "models"
    texts = [*TEXTS, "\u00e9t\u00e9\n" * 9]  # bytes that byte-pair encoding writes as other characters
    kinds = {
        "letters": tokens.learn_characters(texts),
        "pieces": tokens.learn_bpe(texts, size=290),
        "words": tokens.learn_words(texts, size=30),
    }
    for name, spec in kinds.items():
        text_models.write(root, name, spec)
    with running(tmp_path, models_dir=str(root)) as server:
        page = open_page(at=server)
        for name, spec in kinds.items():
            page.select_option("#model", f"{name} version 1")
            example = httpx.get(f"{server.url}/models/{name}").json()["models"][0]["example"]["steps"]
            assert tokens.read(spec, page.input_value("#text"))[:, 0].tolist() == example
            if name == "letters":
                send(page, "#pieces")
                assert f"step {len(example)} of session page-" in answer(page)
                continue
            page.click("#pieces")
            expect(page.locator("#problem")).to_contain_text("longer than a character")
            assert answer(page) == "Nothing was sent yet."


def test_a_page_for_other_machines_needs_a_setting(tmp_path: Path) -> None:
    with running(tmp_path, ui="off") as server:
        assert httpx.get(f"{server.url}/ui").status_code == 404
