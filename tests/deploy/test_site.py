"""The website: every page is in it, loads nothing from elsewhere, and has a copy for machines."""

import json
import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from cellgate import Client
from deploy.site.__main__ import CONFIG, OTHERS, install, main
from deploy.site.drawings import PICTURES
from deploy.site.reference import PAGES
from service.settings import Settings
from tests.committed import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a warning of the builder, such as a link that leads nowhere."""
    folder = tmp_path_factory.mktemp("site") / "built"
    done = CliRunner().invoke(main, ["--out", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def listed() -> set[str]:
    nav = tomllib.loads(CONFIG.read_text())["project"]["nav"]
    return {name for section in nav for names in section.values() for name in names}


def test_every_document_is_listed() -> None:
    documents = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert listed() == documents | set(OTHERS.values()) | {f"reference/{name}" for name in PAGES}


def test_every_page_has_a_copy_as_markdown_that_is_listed(site: Path) -> None:
    targets = re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text())
    assert len(targets) == len(listed())
    for target in targets:
        assert (site / target).read_text().startswith("# ") and (site / target).with_suffix(".html").exists()


def test_pages_load_nothing_from_other_servers(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text())
        assert loaded == [], page


def test_pages_are_found_by_a_search_without_a_network(site: Path) -> None:
    index = json.loads((site / "search.json").read_text())
    assert "rewind" in json.dumps(index)


def test_the_reference_is_made_from_the_code(site: Path) -> None:
    settings, errors, client, http, v2, metrics, commands = (
        (site / "reference" / name / "index.md").read_text()
        for name in ("settings", "errors", "client", "http", "v2", "metrics", "commands")
    )
    assert all(f"| `{name}` |" in settings for name in Settings.model_fields)
    assert "| 409 | `session_conflict` |" in errors
    assert "### Client.predict_one" in client and (Client.predict_one.__doc__ or "")[:40] in client
    assert "## POST /predict" in http and "## PUT /sessions/{session}" in http and "/v2" not in http
    assert "| `trim_padding` | true or false |" in http and "409 `session_conflict`" in http
    assert "## POST /v2/models/{name}/infer" in v2 and "### InferTensor" in v2 and "/predict" not in v2
    assert "| `cellgate_stage_duration_seconds` | histogram |" in metrics
    assert "## cellgate sessions rewind" in commands and "## cellgate-train train" in commands


@pytest.mark.parametrize("name", PICTURES)
def test_the_drawings_are_as_written_and_have_a_text(name: str) -> None:
    """The chunks are those of the scheduler; python -m deploy.site.drawings writes them."""
    drawn = (ROOT / "docs" / name).read_text()
    assert drawn == PICTURES[name]()
    assert ElementTree.fromstring(drawn).findtext("{http://www.w3.org/2000/svg}desc")


def test_a_folder_that_is_no_website_is_not_replaced(tmp_path: Path) -> None:
    (mine := tmp_path / "mine.txt").write_text("mine")
    done = CliRunner().invoke(main, ["--out", str(tmp_path)])
    assert done.exit_code == 1 and "no website that was built before" in done.output
    assert mine.read_text() == "mine"


def test_what_is_installed_is_small_and_its_links_lead_somewhere(site: Path, tmp_path: Path) -> None:
    size = install(site, tmp_path / "guide")
    assert size < 12_000_000
    for page in (tmp_path / "guide").rglob("*.html"):
        for link in re.findall(r'(?:src|href)="([^"#?]+)', page.read_text()):
            if not re.match(r"\w+:", link):
                target = page.parent / link
                assert (
                    target / "index.html" if link.endswith("/") or target.is_dir() else target
                ).is_file(), link
