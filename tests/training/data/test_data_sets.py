"""The real data sets: what is read is what was published, and nothing of the test part is anywhere else."""

import gzip
import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from training import data
from training.data import glucose, moby, ocean, purchases, reuters, series, tokens, traffic, watch
from training.data.dataset import DataSet, Split
from training.data.fetch import fetch

# Sequences for training and test, and the shortest and the longest of both.
SIZES = {
    "air": (546, 1, 144, 8760),
    "co2": (305, 1, 154, 457),
    "digits": (1347, 450, 8, 8),
    "glucose": (325, 1, 264, 10457),
    "moby": (7905, 60, 56, 2000),
    "moby_subwords": (7711, 30, 27, 2000),
    "ocean": (469, 1, 317, 3850),
    "purchases": (18856, 2357, 2, 82),
    "reuters": (5485, 2189, 5, 964),
    "traffic": (770, 1, 327, 6552),
    "traffic_numbers": (770, 1, 327, 6552),
    "vowels": (270, 370, 7, 29),
    "watch": (543, 3, 151, 5366),
}
FROM_NPM = {"moby", "moby_subwords"}


def load(name: str) -> DataSet:
    if name in FROM_NPM and shutil.which("npm") is None:
        pytest.skip(f"{name} lies in an npm package, and there is no npm here")
    return data.load(name)


@pytest.mark.parametrize("name", data.names())
def test_a_data_set_has_the_published_size_and_describes_itself(name: str) -> None:
    found = load(name)
    lengths = [len(sequence) for sequence in found.train.sequences + found.test.sequences]
    assert (len(found.train), len(found.test), min(lengths), max(lengths)) == SIZES[name]
    assert found.name == name
    assert found.citation
    assert found.license
    columns = sum(given.columns for given in found.inputs)
    for part in filter(None, (found.train, found.validation, found.test)):
        assert all(sequence.shape[1] == columns for sequence in part.sequences)
        assert all(sequence.dtype == np.float32 for sequence in part.sequences)


@pytest.mark.parametrize("name", data.names())
def test_only_inputs_that_say_so_have_gaps_and_tokens_are_in_the_vocabulary(name: str) -> None:
    found = load(name)
    steps = np.concatenate(found.train.sequences + found.test.sequences)
    start = 0
    for given in found.inputs:
        values = steps[:, start : start + given.columns]
        start += given.columns
        assert np.isnan(values).any() == given.has_gaps
        if given.kind == "token":
            assert set(np.unique(values)) <= set(range(len(given.vocabulary)))


@pytest.mark.parametrize("name", ["air", "co2", "ocean", "traffic", "glucose"])
def test_the_test_part_comes_after_all_that_is_learnt_from(name: str) -> None:
    """Its values, in order, are in no window of the training part."""
    found = load(name)
    assert found.forecast is not None
    assert found.validation is not None
    probe = found.test.sequences[0][:200, 0]
    for part in (found.train, found.validation):
        for sequence in part.sequences:
            assert not np.array_equal(sequence[-200:, 0], probe, equal_nan=True)


def test_what_is_foretold_is_what_comes() -> None:
    found = load("air")
    x, y = found.test.sequences[0], found.test.targets[0]
    for column, horizon in enumerate((1, 6, 24)):
        assert np.array_equal(y[:-horizon, column], x[horizon:, 0], equal_nan=True)
        assert np.isnan(y[-horizon:, column]).all()


def test_windows_cover_a_series_and_the_last_may_be_short() -> None:
    x = np.arange(10, dtype=np.float32)[:, None]
    split = series.windows(x, series.ahead(x[:, 0], (1, 2)), steps=4, stride=3)
    assert [sequence[:, 0].tolist() for sequence in split.sequences] == [
        [0, 1, 2, 3],
        [3, 4, 5, 6],
        [6, 7, 8, 9],
    ]
    assert split.targets[0].tolist() == [[1, 2], [2, 3], [3, 4], [4, 5]]
    assert np.isnan(split.targets[2][-1]).all()


def test_a_calendar_turns() -> None:
    names, found = series.calendar([datetime(2020, 1, 6, hour) for hour in (0, 6, 12)])
    assert names[:2] == ("hour_sin", "hour_cos")
    np.testing.assert_allclose(found[:, :2], [[0, 1], [1, 0], [0, -1]], atol=1e-6)


def test_ocean_lays_readings_on_a_grid(tmp_path: Path) -> None:
    path = tmp_path / "sea.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("time,temperature\n2016-02-15 00:00:00+00:00,4.5\n2016-02-15 01:30:00+00:00,4.25\n")
    np.testing.assert_array_equal(ocean.on_grid(path)[:, 0], [4.5, np.nan, np.nan, 4.25])


def test_glucose_is_foretold_by_the_clock_not_by_steps() -> None:
    minutes = np.array([0.0, 5, 10, 30, 31, 61])
    values = np.array([100, 110, 120, 130, 140, 150], np.float32)
    later = glucose.later(minutes, values)
    np.testing.assert_array_equal(later[:, 0], [130, np.nan, np.nan, 150, 150, np.nan])
    np.testing.assert_array_equal(later[:, 1], [150, np.nan, np.nan, np.nan, np.nan, np.nan])


def test_traffic_has_every_hour_and_a_holiday_lasts_all_day() -> None:
    row = {"temp": "280", "rain_1h": "9831.3", "snow_1h": "0", "clouds_all": "1", "weather_main": "Rain"}
    rows = [
        row | {"date_time": "2016-12-25 00:00:00", "holiday": "Christmas Day", "traffic_volume": "800"},
        row | {"date_time": "2016-12-25 03:00:00", "holiday": "None", "traffic_volume": "300"},
    ]
    times, grid, skies, holidays = traffic.on_grid(rows)
    assert [time.hour for time in times] == [0, 1, 2, 3]
    np.testing.assert_array_equal(grid[:, 0], [800, np.nan, np.nan, 300])
    assert np.isnan(grid[0, 2]), "nearly ten metres of rain in an hour are an error"
    assert skies == ["Rain", "<missing>", "<missing>", "Rain"]
    assert holidays == ["Christmas Day"] * 4


def test_words_are_learnt_from_the_training_part_alone() -> None:
    found = reuters.data_of([("earn", ["net"] * 3 + ["rare"])], [("earn", ["net", "unheard"])])
    assert found.inputs[0].vocabulary == ("<unknown>", "net")
    assert found.test.sequences[0][:, 0].tolist() == [1, 0]


def test_raw_news_become_the_ids_that_the_scores_were_measured_on() -> None:
    """Those of before there was a tokenizer: the places of the words, split at spaces, in the vocabulary."""
    found = load("reuters")
    train, test = (reuters.read(path) for path in fetch(reuters.WHEEL))
    counts = Counter(word for _, words in train for word in words)
    vocabulary = ("<unknown>", *sorted(word for word, count in counts.items() if count >= 3))
    assert found.inputs[0].vocabulary == vocabulary
    assert found.inputs[0].unknown == 0
    number = {word: place for place, word in enumerate(vocabulary)}
    for (_, words), ids in zip(test, found.test.sequences, strict=True):
        assert [number.get(word, 0) for word in words] == ids[:, 0].tolist()
    written = "U.S. exporters' fear: 25 pct\nless TRADE"
    plain = [number[word] for word in ("u", "s", "exporters", "fear", "pct", "less", "trade")]
    assert tokens.read(found.inputs[0], written)[:, 0].tolist() == plain


def test_the_training_part_has_every_character_of_moby_dick_so_nothing_of_the_rest_is_known() -> None:
    found, text = load("moby"), moby.text()
    [given] = found.inputs
    assert found.validation is not None
    assert given.vocabulary == found.labels == tuple(sorted(set(text)))
    assert tokens.learn_characters([moby.parts(text)[0]]) == given
    for part, split in zip(moby.parts(text), (found.train, found.validation, found.test), strict=True):
        number = {character: place for place, character in enumerate(given.vocabulary)}
        assert [number[character] for character in part[:-1]] == joined(split)


def test_subwords_spell_the_same_book_and_are_learnt_from_its_training_part() -> None:
    found, (train, _, test) = load("moby_subwords"), moby.parts(moby.text())
    [given] = found.inputs
    assert tokens.learn_bpe([train], size=512) == given
    told = [float(token) for token in np.concatenate(found.test.targets)]
    ids = tokens.read(given, test)[:, 0].tolist()
    assert told == ids[1:]
    assert found.token_length == len(test) / len(ids)
    assert Tokenizer.from_str(given.tokenizer or "").decode([int(token) for token in ids]) == test


def test_numbers_alone_are_those_of_the_traffic() -> None:
    whole, found = load("traffic"), load("traffic_numbers")
    assert found.inputs == whole.inputs[:2]
    width = sum(given.columns for given in found.inputs)
    assert width == whole.test.sequences[0].shape[1] - 2
    assert np.array_equal(found.test.sequences[0], whole.test.sequences[0][:, :width], equal_nan=True)
    assert np.array_equal(found.test.targets[0], whole.test.targets[0], equal_nan=True)


def test_carbon_dioxide_has_the_weeks_that_were_published() -> None:
    found = load("co2")
    assert found.validation is not None
    weeks = found.train.sequences[0][:, 0]
    assert weeks[:3].tolist() == [np.float32(316.1), np.float32(317.3), np.float32(317.6)]
    assert found.test.sequences[0][-1, 0] == np.float32(371.5)
    x, y = found.test.sequences[0], found.test.targets[0]
    for column, horizon in enumerate((4, 26, 52)):
        assert np.array_equal(y[:-horizon, column], x[horizon:, 0], equal_nan=True)


def joined(split: Split) -> list[float]:
    """The first column of all sequences, one after the other."""
    first: list[float] = np.concatenate(split.sequences)[:, 0].tolist()
    return first


def test_characters_foretell_the_next() -> None:
    found = moby.data_of("abc" * 100)
    x, y = found.train.sequences[0][:, 0], found.train.targets[0]
    assert found.labels == ("a", "b", "c")
    assert np.array_equal(x[1:], y[:-1])


def test_a_customer_is_known_up_to_the_day_of_asking(tmp_path: Path) -> None:
    path = tmp_path / "cdnow.txt"
    path.write_text(
        " customer_id  date number_of_cds  dollar_value\n"
        " 00001 19970101  1   11.77\n 00002 19970112  1   12.00\n"
        " 00002 19970112  5   77.00\n 00002 19971112  1    9.00\n"
    )
    first, second = purchases.read(path)
    assert first == [(date(1997, 1, 1), 1, 11.77)]
    assert purchases.sequence(first).tolist() == [[0, 1, np.float32(11.77)], [272, 0, 0]]
    assert purchases.sequence(second).tolist() == [[11, 6, 89], [261, 0, 0]]


def test_a_pickle_that_would_call_anything_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.npy"
    np.save(path, np.array([{"X": Path("/")}], dtype=object), allow_pickle=True)
    refused: Callable[[Path], object] = watch.read
    with pytest.raises(pickle.UnpicklingError, match="has no place in a data set"):
        refused(path)
