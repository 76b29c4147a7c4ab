"""The gates of a model that shows them: drawn in the playground, and beside the states of a session."""

from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.e2e.server import running
from tests.e2e.ui.pages import Open, send
from tests.service.graphs import GATED


def test_gates_are_drawn_step_by_step_and_can_be_left_out(open_page: Open, tmp_path: Path) -> None:
    root = tmp_path / "models"
    GATED.write(root)
    with running(tmp_path, models_dir=str(root)) as server:
        page = open_page(at=server)
        page.click("text=JSON or CSV")
        page.fill("#json", "[[1, 2], [3, 5], [4, 6]]")
        page.locator("#json").blur()
        send(page)
        titles = page.locator("#gates h4")
        expect(titles).to_have_text(
            ["open: 2 units, 3 steps since step 1", "shut: 2 units, 3 steps since step 1"]
        )
        page.locator("#gates canvas").nth(1).hover(position={"x": 30, "y": 16})
        expect(page.locator("#gates .hint").nth(1)).to_have_text("step 2, unit 1: -5")
        page.fill("#session", "seen")
        page.fill("#size", "2")
        send(page, "#pieces")
        page.select_option("#return", "last")
        page.fill("#rate", "100")
        page.click("#stream")
        expect(page.locator("#answer")).to_contain_text("step 6 of session seen")
        expect(titles.first).to_have_text("open: 2 units, 6 steps since step 1")
        page.click("nav >> text=Sessions")
        page.click("[data-session=seen]")
        shown = page.locator("#session-gates canvas")
        expect(shown).to_have_count(2)
        shown.first.hover(position={"x": 5 * 24 + 6, "y": 4})
        expect(page.locator("#session-gates .hint").first).to_have_text("step 6, unit 0: 4")
        violations = Axe().run(page).response["violations"]
        assert not [each["id"] for each in violations if each["impact"] in ("serious", "critical")]
        page.click("nav >> text=Playground")
        page.uncheck("#with-gates")
        send(page)
        assert '"return":"last"' in (page.locator("#snippets pre").nth(2).text_content() or "")


def test_nothing_is_said_of_gates_where_a_model_shows_none(open_page: Open) -> None:
    page = open_page()
    send(page)
    expect(page.locator("#gates-field")).to_be_hidden()
    expect(page.locator("#gates canvas")).to_have_count(0)
    assert '"return":"all"' in (page.locator("#snippets pre").nth(2).text_content() or "")
