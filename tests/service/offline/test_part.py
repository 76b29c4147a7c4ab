"""The part of an output: after a crash at any point it continues with each sequence exactly once."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from service.errors import StartupError
from service.offline.part import FileMedium, Part
from service.offline.table_answers import ParquetMedium

RUN = {"model": "1", "--id": None}


def open_part(folder: Path, run: Mapping[str, object] = RUN) -> Part:
    return Part(folder / "out.csv", run, FileMedium)


def test_a_finished_part_is_the_output_and_nothing_else_is_left(tmp_path: Path) -> None:
    with open_part(tmp_path) as part:
        part.append(b"head\n", 0, 0)
        part.append(b"a\nb\n", 2, 1)
        part.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert (tmp_path / "out.csv").read_bytes() == b"head\na\nb\n"


def test_what_the_journal_does_not_count_is_cut_off(tmp_path: Path) -> None:
    with open_part(tmp_path) as part:
        part.append(b"a\n", 1, 1)
    with (tmp_path / "out.csv.part").open("ab") as file:
        file.write(b"b\nhalf a li")  # written by a process that was killed before its journal was
    with open_part(tmp_path) as part:
        assert (part.num_sequences, part.num_failed) == (1, 1)
        part.append(b"b\n", 1, 0)
        part.finish()
    assert (tmp_path / "out.csv").read_bytes() == b"a\nb\n"


def test_an_error_leaves_a_part_that_counts_all_that_was_added(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_part(tmp_path) as part:
        part.append(b"a\n", 1, 0)
        raise KeyboardInterrupt
    assert json.loads((tmp_path / "out.csv.part.json").read_text())["sequences"] == 1
    assert (tmp_path / "out.csv.part").read_bytes() == b"a\n"


def test_a_part_of_another_run_is_refused(tmp_path: Path) -> None:
    with open_part(tmp_path) as part:
        part.append(b"a\n", 1, 0)
    with pytest.raises(StartupError, match="another model: to begin again, delete it"):
        open_part(tmp_path, {**RUN, "model": "2"})
    (tmp_path / "out.csv.part").write_bytes(b"")
    with pytest.raises(StartupError, match="shorter than its journal says"):
        open_part(tmp_path)


def test_a_part_without_an_answer_is_begun_again(tmp_path: Path) -> None:
    """Such as that of a file in which an error was found at once, and corrected."""
    with open_part(tmp_path) as part:
        part.append(b"head\n", 0, 0)
    with open_part(tmp_path, {**RUN, "model": "2"}) as part:
        part.append(b"other\n", 1, 0)
        part.finish()
    assert (tmp_path / "out.csv").read_bytes() == b"other\n"


def test_a_file_that_no_run_wrote_is_left_as_it_is(tmp_path: Path) -> None:
    """It was cut to nothing."""
    path = tmp_path / "out.csv.part"
    path.write_bytes(b"a download\n")
    with pytest.raises(StartupError, match="no journal of a run is beside it: move it away"):
        open_part(tmp_path)
    assert path.read_bytes() == b"a download\n" and list(tmp_path.iterdir()) == [path]
    path.write_bytes(b"")  # such as of a process that was killed before its journal was
    with open_part(tmp_path):
        assert (tmp_path / "out.csv.part.json").exists()  # before anything is in the part


def test_a_folder_that_no_run_wrote_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "out.csv.part"
    folder.mkdir()
    (own := folder / "00000000.parquet").write_bytes(b"mine")
    with pytest.raises(StartupError, match="no journal of a run is beside it"):
        Part(tmp_path / "out.csv", RUN, ParquetMedium)
    assert own.read_bytes() == b"mine"


def test_two_processes_do_not_write_one_part(tmp_path: Path) -> None:
    with open_part(tmp_path), pytest.raises(StartupError, match="another process writes"):
        open_part(tmp_path)
