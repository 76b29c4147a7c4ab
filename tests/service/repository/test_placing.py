"""A version appears under the next number by one rename, also beside others that are placed meanwhile."""

from pathlib import Path

import pytest

from service.errors import StartupError
from service.repository import place


def staged(root: Path) -> Path:
    folder = root / ".staged" / "x"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    return folder


def test_the_next_number_is_above_the_highest(tmp_path: Path) -> None:
    for name in ("2", "9", "not-a-version"):
        (tmp_path / "m" / name).mkdir(parents=True)
    assert place(staged(tmp_path), tmp_path, "m") == tmp_path / "m" / "10"
    assert (tmp_path / "m" / "10" / "model.json").read_text() == "{}"


def test_a_model_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("")
    with pytest.raises(StartupError, match="File exists"):
        place(staged(tmp_path), tmp_path, "m")
