"""The playground in a real Chromium: what it sends, and what it shows of the answers."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.e2e import graphs
from tests.e2e.server import ROOT, Server, running
from tests.e2e.ui.pages import Open, answer, picture, send, state_of
from tests.service import input_models, text_models
from tests.service.text_models import TEXTS
from tests.training.synthetic import MIXED
from training.data import tokens


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


def test_each_of_several_inputs_and_single_numbers_have_a_grid_and_a_drawing(
    open_page: Open, tmp_path: Path
) -> None:
    root = tmp_path / "models"
    graphs.write_all(tmp_path / "graphs")
    shutil.copytree(tmp_path / "graphs" / "recent", root / "recent")
    input_models.write(root, "station", MIXED)
    with running(tmp_path, models_dir=str(root)) as server:
        page = open_page(at=server)
        page.select_option("#model", "station version 1")
        example = httpx.get(f"{server.url}/models/station").json()["models"][0]["example"]["steps"]
        tables = [name for name, steps in example.items() if isinstance(steps[0], list)]
        expect(page.locator("#edited option")).to_have_text(tables)
        page.select_option("#edited", label=tables[-1])
        page.locator("#input input").first.fill("0.875")
        page.locator("#input input").first.blur()
        page.click("text=Add a step")
        send(page)
        page.click("text=JSON or CSV")
        edited = json.loads(page.input_value("#json"))
        assert edited[tables[-1]][0][0] == 0.875 and edited[tables[0]][:-1] == example[tables[0]]
        assert {len(steps) for steps in edited.values()} == {len(example[tables[0]]) + 1}
        page.select_option("#model", "recent version 1")
        page.locator("#input input").first.fill("0.5")
        page.locator("#input input").first.blur()
        page.click("text=Draw")
        expect(page.locator("#drawing")).to_be_visible()
        send(page)
        page.close()


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


def test_streams_generations_and_saliency_work_elsewhere_too(open_page: Open, tmp_path: Path) -> None:
    root = tmp_path / "models"
    text_models.write(root, "letters", tokens.learn_characters(TEXTS))
    input_models.write(root, "sensors", input_models.NUMBERS["sensors"])
    with running(tmp_path, models_dir=str(root)) as server:
        page = open_page(at=server)

        def printed(kind: int) -> str:
            shown = page.locator("#snippets pre").nth(kind).text_content() or ""
            program = [["sh", "-c", shown], [sys.executable, "-c", shown]][kind]
            return subprocess.check_output(program, text=True, cwd=ROOT)

        page.select_option("#model", "letters version 1")
        page.fill("#text", "the cat ")
        page.fill("#tokens", "5")
        send(page, "#generate")
        assert len(json.loads(printed(0))["text"]) == 5 and "Generation(" in printed(1)
        page.select_option("#model", "sensors version 1")
        send(page, "#explain")
        assert len(json.loads(printed(0))["predictions"]) == printed(1).count("Prediction(") == 3
        page.fill("#session", "there")
        page.fill("#rate", "100")
        send(page, "#stream")
        length = state_of(server, "there")["step"]
        assert f"step={2 * length}" in printed(1)
        assert "session_conflict" in printed(0), "a step that was taken already"
        assert state_of(server, "there")["step"] == 2 * length
        page.close()
