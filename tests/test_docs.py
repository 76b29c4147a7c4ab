"""Every Markdown file: prose wrapped at one width, links and anchors that resolve, plain words."""

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WIDTH = 110  # columns, as for code
README_LINES = 80  # of prose: neither code nor blank
FIRST_SCREEN = 40  # lines of the README that hold the first prediction
PLAIN = {
    "goes on": "continues, resumes",
    "gone on with": "continued, resumed",
    "whoever": "clients, anyone who",
    "nobody": "no client, not",
    "mend": "fix",
    "by chance": "at random, by accident",
    "on purpose": "explicitly",
    "told": "with the argument, reported",
    "second face": "second API",
}

FENCE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
TOKEN = re.compile(r"(?:`[^`]*`|\S)+")  # a word; a code span is not broken
ITEM = re.compile(r"(?:[-*]|\d+\.) ")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
TRACKED = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
DOCUMENTS = [name for name in TRACKED.stdout.split() if (ROOT / name).exists()]

every_document = pytest.mark.parametrize("name", DOCUMENTS)


def prose(text: str) -> str:
    """The text with each line of a code block blank, so that line numbers stay."""
    return FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)


def is_wrapped(line: str) -> bool:
    """Whether the rule of the width is for this line: not for tables, headings and images."""
    return bool(line.strip()) and not re.match(r"\s*(\||#|!\[|<!--|<)", line)


def badly_wrapped(text: str) -> Iterator[tuple[int, str]]:
    """Number and content of each prose line that is too long, or too short: the next word would fit."""
    lines = prose(text).splitlines()
    for number, line in enumerate(lines, 1):
        if not is_wrapped(line):
            continue
        if len(line) > WIDTH and len(TOKEN.findall(line)) > 1 + bool(ITEM.match(line.lstrip())):
            yield number, line
        following = lines[number] if number < len(lines) else ""
        starts_another = not is_wrapped(following) or ITEM.match(following.lstrip()) or line.endswith("  ")
        if not starts_another and len(line) + 1 + len(TOKEN.findall(following)[0]) <= WIDTH:
            yield number, line


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, formed as GitHub forms them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_document
def test_prose_is_wrapped_at_one_width(name: str) -> None:
    assert list(badly_wrapped((ROOT / name).read_text())) == []


@every_document
def test_every_relative_link_and_anchor_resolves(name: str) -> None:
    path = ROOT / name
    for target in LINK.findall(FENCE.sub("", path.read_text())):
        if re.match(r"\w+:", target):  # another site
            continue
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked.read_text()), target


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != "docs/journal.md"])
def test_the_files_named_exist(name: str) -> None:
    """In code spans; the journal names files as they were."""
    named = re.findall(r"`((?:service|training|tests|docs|deploy)/[\w./-]*)`", (ROOT / name).read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def inventions(text: str) -> dict[str, str]:
    """The words of a text that are not plain, and what to write instead."""
    joined = " ".join(text.lower().split())
    return {word: instead for word, instead in PLAIN.items() if re.search(rf"\b{word}\b", joined)}


@every_document
def test_the_words_are_plain(name: str) -> None:
    assert inventions((ROOT / name).read_text()) == {}


@pytest.mark.parametrize("package", ["cellgate", "deploy", "service", "training"])
def test_the_words_of_the_code_are_plain(package: str) -> None:
    sources = [path for kind in ("*.py", "ui/*.js", "ui/*.html") for path in (ROOT / package).rglob(kind)]
    found = {str(path.relative_to(ROOT)): inventions(path.read_text()) for path in sources}
    assert {name: words for name, words in found.items() if words} == {}


def test_the_readme_is_short_and_begins_with_a_prediction() -> None:
    text = (ROOT / "README.md").read_text()
    assert len([line for line in prose(text).splitlines() if line.strip()]) <= README_LINES
    first_screen = "\n".join(text.splitlines()[:FIRST_SCREEN])
    assert "make serve" in first_screen
    assert '"predictions":[{' in first_screen


def test_the_rules_find_what_they_are_for() -> None:
    short = "a line that ends early\nalthough the next word fits"
    long = "word " * 30
    assert [number for number, _ in badly_wrapped(short)] == [1]
    assert [number for number, _ in badly_wrapped(long)] == [1]
    assert list(badly_wrapped(f"```\n{long}\n```\n\n| {long} |\n\n- one\n- two\n")) == []
    assert anchors("## What `at` does\n### POST /predict\n```\n# not one\n```\n") == {
        "what-at-does",
        "post-predict",
    }


@every_document
def test_every_request_names_its_model(name: str) -> None:
    """A request without a model works until a second model is loaded."""
    for block in FENCE.findall((ROOT / name).read_text()):
        lines = block.splitlines()
        for before, line in pairwise(lines):
            if '"sequences":' in line or '"prompt":' in line:
                assert '"model":' in before + line, line


def test_the_example_requests_name_their_model() -> None:
    bodies = list((ROOT / "docs" / "examples").glob("*.json"))
    assert bodies
    for body in bodies:
        assert "model" in json.loads(body.read_text()), body
