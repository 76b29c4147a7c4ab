"""docs/sessions.md names a test for each of its promises: there are tests of these names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "sessions.md").read_text().partition("## The promises")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| (\d+) \| .* \| ([^|]*) \|$", TABLE, re.MULTILINE)


def test_every_promise_has_a_row() -> None:
    assert [number for number, _ in ROWS] == [str(number) for number in range(1, 12)]


@pytest.mark.parametrize(("number", "shown_by"), ROWS, ids=[number for number, _ in ROWS])
def test_what_shows_a_promise_is_there(number: str, shown_by: str) -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", shown_by)
    assert named, f"promise {number} names no test"
    for file, test in named:
        sources = [path.read_text() for path in (ROOT / "tests").rglob(file)]
        assert any(f"def {test}(" in source for source in sources), f"{file}::{test}"
