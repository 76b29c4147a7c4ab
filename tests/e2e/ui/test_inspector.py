"""The inspector of sessions in a real Chromium: what it shows, and all that it does with a session."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e import graphs
from tests.e2e.server import ROOT, Server, running
from tests.e2e.ui.pages import Open, send, state_of


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
        "aria-label", "difference of h: 128 units, 1 state since step 40; largest value 0"
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
    assert started.value.suggested_filename == "life-2.cgs"
    started.value.save_as(file := tmp_path / "copy.cgs")
    page.set_input_files("#import", file)
    expect(page.locator("#selected")).to_have_text("copy")
    assert state_of(server, "copy")["state"] == before["state"]
    page.click("#delete")
    page.click("text=Delete it for good")
    expect(page.locator("#inspector")).to_contain_text("Deleted")
    assert httpx.get(f"{server.url}/sessions/copy").status_code == 404


def open_session(open_page: Open, at: Server, session: str, *, may_fail: bool = False) -> Page:
    page = open_page(f"sessions/{session}", at=at, may_fail=may_fail)
    expect(page.locator("#strips canvas").first).to_be_visible()
    return page


def put(server: Server, session: str, **fields: Any) -> None:
    httpx.put(f"{server.url}/sessions/{session}", json=fields).raise_for_status()


@pytest.fixture(scope="module")
def graphs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Models whose states JSON or JavaScript could not hold exactly."""
    root = tmp_path_factory.mktemp("models")
    graphs.write_all(root)
    for folder in root.iterdir():
        if folder.name not in ("buttons", "open-mean"):
            shutil.rmtree(folder)
    with running(tmp_path_factory.mktemp("graphs"), models_dir=str(root)) as started:
        yield started


def test_integers_beyond_those_of_javascript_are_shown_and_kept_exactly(
    open_page: Open, graphs_server: Server
) -> None:
    put(graphs_server, "clicks", model="buttons", state={"count": [2**60 + 1, 7]}, step=9)
    page = open_session(open_page, graphs_server, "clicks")
    page.locator("#strips canvas").click(position={"x": 2, "y": 2})
    assert page.input_value("#edit-value") == str(2**60 + 1)
    page.fill("#edit-unit", "1")
    page.fill("#edit-value", str(-(2**61) - 1))
    page.click("#edit")
    expect(page.locator("#edit")).to_be_enabled()
    expect(page.locator("#problem")).to_be_hidden()
    assert state_of(graphs_server, "clicks")["state"]["count"] == [2**60 + 1, -(2**61) - 1]
    page.fill("#edit-value", "1,5")
    page.click("#edit")
    expect(page.locator("#problem")).to_have_text('"1,5" is not a number')


def test_a_state_with_a_nan_is_not_written_again(open_page: Open, graphs_server: Server) -> None:
    body = {"model": "open-mean", "sequences": [{"steps": [[0.0, 0.0]], "session": "nan"}]}
    httpx.post(f"{graphs_server.url}/predict", json=body).raise_for_status()
    before = state_of(graphs_server, "nan")
    page = open_session(open_page, graphs_server, "nan")
    page.click("#edit")
    expect(page.locator("#problem")).to_contain_text("has a NaN or an infinity")
    assert state_of(graphs_server, "nan")["state"] == before["state"]


def test_sessions_of_other_shapes_are_not_compared(open_page: Open, graphs_server: Server) -> None:
    put(graphs_server, "one", model="buttons")
    put(graphs_server, "two", model="open-mean")
    page = open_session(open_page, graphs_server, "one")
    page.fill("#compare", "two")
    page.locator("#compare").blur()
    expect(page.locator("#problem")).to_contain_text("cannot be compared")


def test_sessions_are_found_by_name_and_shown_by_address(open_page: Open, server: Server) -> None:
    for name in ("find-b", "find-a2", "find-a"):
        put(server, name, model="vowels")
    page = open_session(open_page, server, "find-b")
    page.fill("#find", "find-a")
    expect(page.locator("[data-session]")).to_have_text(["find-a", "find-a2"])
    page.click("[data-session=find-a2]")
    expect(page.locator("#selected")).to_have_text("find-a2")
    page.reload()
    expect(page.locator("#selected")).to_have_text("find-a2")
    page.fill("#find", "nothing")
    expect(page.locator("#list")).to_have_text('No session begins with "nothing".')


def test_each_action_works_elsewhere_too(open_page: Open, server: Server, tmp_path: Path) -> None:
    """The request that the page shows by curl and Python does what its button does."""
    put(server, "mine", model="vowels", history={"last": 4})
    for _ in range(2):
        httpx.post(f"{server.url}/predict", json={"sequences": [{"steps": [[0.1] * 12], "session": "mine"}]})
    page = open_session(open_page, server, "mine")

    def shown(button: str) -> tuple[str, str]:
        page.click(button)
        expect(page.locator(button)).to_be_enabled()
        expect(page.locator("#problem")).to_be_hidden()
        texts = page.locator("#session-snippets pre")
        return texts.nth(0).text_content() or "", texts.nth(1).text_content() or ""

    def run(*commands: str) -> str:
        for command in commands:
            program = ["sh", "-c", command] if command.startswith("curl") else [sys.executable, "-c", command]
            printed = subprocess.check_output(
                program, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
        return printed

    page.select_option("#rewind-step", "1")
    rewound, again = shown("#rewind")
    assert state_of(server, "mine")["step"] == 1
    assert json.loads(run(rewound))["step"] == 1, "the same rewind changes nothing"
    assert "step=1" in run(again)
    curl, python = shown("#history")
    assert json.loads(run(curl))["history"]["last"] == 32 and "last=32" in run(python)
    page.fill("#edit-value", "0.25")
    page.fill("#edit-unit", "5")
    curl, python = shown("#edit")
    assert state_of(server, "mine")["state"]["h"][0][5] == 0.25
    assert curl.startswith("curl -s") and "-X PUT" in curl
    page.fill("#edit-value", "0.5")
    assert "rewinds=4" in run(python.replace("0.25", "0.75"))
    assert state_of(server, "mine")["state"]["h"][0][5] == 0.75
    curl, python = shown("#export")
    run(curl, python)
    assert (tmp_path / "mine.cgs").stat().st_size > 1000
    page.fill("#fork-name", "mine-2")
    curl, python = shown("#fork")
    expect(page.locator("#selected")).to_have_text("mine-2")
    assert "mine-3" in run(curl.replace("mine-2", "mine-3")) + run(python.replace("mine-2", "mine-4"))
    page.click("#delete")
    page.click("text=Delete it for good")
    expect(page.locator("#inspector")).to_contain_text("Deleted")
    curl = page.locator("#session-snippets pre").nth(0).text_content() or ""
    python = page.locator("#session-snippets pre").nth(1).text_content() or ""
    assert run(curl.replace("mine-2", "mine-3")) == run(python.replace("mine-2", "mine-4")) == ""
    assert [httpx.get(f"{server.url}/sessions/mine-{n}").status_code for n in (2, 3, 4)] == [404] * 3


def test_a_step_of_another_client_is_not_undone_by_an_edit_or_an_import(
    open_page: Open, server: Server, tmp_path: Path
) -> None:
    put(server, "shared", model="vowels")
    page = open_session(open_page, server, "shared", may_fail=True)
    with page.expect_download() as started:
        page.click("#export")
    started.value.save_as(file := tmp_path / "shared.cgs")

    def step_first(route: Route) -> None:
        """Another client's step, between what the page reads and what it writes."""
        httpx.post(
            f"{server.url}/predict", json={"sequences": [{"steps": [[0.1] * 12], "session": "shared"}]}
        )
        route.continue_()

    page.route(
        lambda url: "shared" in url,
        lambda route: step_first(route) if route.request.method == "PUT" else route.continue_(),
    )
    page.click("#edit")
    expect(page.locator("#problem")).to_have_text("the session is at step 1, the request says 0")
    page.set_input_files("#import", file)
    expect(page.locator("#replace")).to_contain_text("The session shared is live, at step 2.")
    page.click("#replace-live")
    expect(page.locator("#problem")).to_have_text("the session is at step 3, the request says 2")
    page.unroute_all()
    page.click("#replace-live")
    expect(page.locator("#problem")).to_have_text("the session is at step 3, the request says 2")
    page.click("text=Keep it")
    page.set_input_files("#import", file)
    page.click("#replace-live")
    expect(page.locator("#facts dd").nth(1)).to_have_text("0")
    assert state_of(server, "shared")["rewinds"] == 1
