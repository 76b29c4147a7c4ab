"""Saliency by occlusion in a real Chromium, of models whose answer depends on steps that are known."""

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e import graphs
from tests.e2e.server import Server, running
from tests.e2e.ui.pages import Open
from tests.service import input_models, text_models
from tests.service.text_models import TEXTS
from tests.training.synthetic import MIXED
from training.data import tokens

KEPT = ("recent", "buttons", "agent")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    graphs.write_all(root)
    for folder in root.iterdir():
        if folder.name not in KEPT:
            shutil.rmtree(folder)
    text_models.write(root, "letters", tokens.learn_characters(TEXTS))
    text_models.write(root, "words", tokens.learn_words(TEXTS, size=30))
    input_models.write(root, "station", MIXED)
    input_models.write(root, "film", input_models.NUMBERS["film"])
    with running(tmp_path_factory.mktemp("many"), models_dir=str(root)) as started:
        yield started


def explain(page: Page) -> list[str]:
    """The most important steps, as the page names them."""
    page.click("#explain")
    expect(page.locator("#explain")).to_be_enabled()
    expect(page.locator("#problem")).to_be_hidden()
    return page.locator("#salient li").all_inner_texts()


def choose(page: Page, model: str, steps: Any = None) -> None:
    page.select_option("#model", f"{model} version 1")
    if steps is not None:
        page.click("text=JSON or CSV")
        page.fill("#json", json.dumps(steps))
        page.locator("#json").blur()


def test_only_the_steps_that_the_answer_depends_on_have_an_effect(open_page: Open, many: Server) -> None:
    """The model sums the last four numbers: each counts as its distance from the mean, the others as 0."""
    page = open_page(at=many)
    numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9, 15]
    choose(page, "recent", [[n] for n in numbers])
    expected = {f"step {at + 1}": n - 6 for at, n in enumerate(numbers) if at >= 6}
    found = dict(line.split(": ") for line in explain(page))
    assert {step: float(effect) for step, effect in found.items() if float(effect)} == expected
    assert next(iter(found)) == "step 10"


def test_the_effect_is_the_loss_of_probability_and_columns_are_hidden_one_by_one(
    open_page: Open, server: Server
) -> None:
    page = open_page(at=server)
    expect(page.locator("#model option")).to_have_count(1)
    ranked = explain(page)
    steps = np.array(httpx.get(f"{server.url}/models/vowels").json()["models"][0]["example"]["steps"])
    variants = [steps.tolist()]
    for at in range(len(steps)):
        changed = steps.copy()
        changed[at] = steps.mean(0)
        variants.append(changed.tolist())
    changed = steps.copy()
    changed[3, 2] = steps[:, 2].mean()
    reply = httpx.post(f"{server.url}/predict", json={"sequences": [*variants, changed.tolist()]}).json()
    outputs = np.array([each["output"] for each in reply["predictions"]])
    effects = outputs[0].max() - outputs[1:, outputs[0].argmax()]
    order = np.argsort(-np.abs(effects[:-1]))[:5]
    for line, at in zip(ranked, order, strict=True):
        step, effect = line.split(": ")
        assert step == f"step {at + 1}" and float(effect) == pytest.approx(effects[at], rel=2e-3)
    strip = page.locator("#saliency-strip")
    strip.hover(position={"x": 24 * 3 + 5, "y": 14 * 3 + 5})
    shown = re.search(r"step 4, lpc_cepstrum_3: (\S+)", page.locator("#saliency").inner_text())
    assert shown and float(shown[1]) == pytest.approx(effects[-1], rel=2e-3)


def test_every_kind_of_model_is_explained(open_page: Open, many: Server) -> None:
    page = open_page(at=many)
    for model, how in {
        "letters": "each character is replaced by the one before it",
        "words": "each word is left out",
        "film": "the mean of its column in this sequence",
        "station": "or by the step before it",
        "buttons": "the step before it, the first by the one after it",
        "agent": "the mean of its column",
    }.items():
        choose(page, model)
        assert explain(page), model
        assert how in page.locator("#saliency").inner_text(), model


def test_the_first_block_of_values_without_a_mean_is_replaced_by_the_step_after_it(
    open_page: Open, many: Server
) -> None:
    """It was moved by one step: the second of its steps stood in it, and hid nothing."""
    page = open_page(at=many)
    pressed = [[True, False]] * 2 + [[False, False]] * 298
    choose(page, "buttons", {"pressed": pressed, "level": [[200, 200]] * 300})
    assert "steps 1 to 2: 2" in explain(page)


def test_a_long_sequence_is_hidden_in_blocks_and_cut_into_requests(open_page: Open, many: Server) -> None:
    page = open_page(at=many, may_fail=True)
    choose(page, "recent", [[n % 7] for n in range(999)])
    sizes = []

    def refuse_many(route: Route) -> None:
        """As a server with a small limit would."""
        sizes.append(len(json.loads(route.request.post_data or "")["sequences"]))
        if sizes[-1] <= 20:
            return route.continue_()
        problem = {"status": 422, "code": "too_many_sequences", "detail": "the maximum is 20"}
        return route.fulfill(status=422, json=problem, content_type="application/problem+json")

    page.route("**/predict", refuse_many)
    ranked = explain(page)
    assert ranked[0].startswith("steps 996 to ") and sizes == [1, 64, 32, *[16] * 12, 8]
    assert "5 steps at a time are replaced" in page.locator("#saliency").inner_text()
