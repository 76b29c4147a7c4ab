"""The real data sets are read as published, and no test value is in another part."""

import functools
import gzip
import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tokenizers import Tokenizer

from training import data
from training.data import glucose, moby, ocean, purchases, reuters, series, tokens, traffic, watch, weather
from training.data.dataset import DataSet, Split
from training.data.fetch import fetch

# Sequences for training and test, and the shortest and the longest of both.
SIZES = {
    "air": (546, 1, 144, 8760),
    "co2": (305, 1, 154, 457),
    "digits": (1347, 450, 8, 8),
    "fulda": (62, 1, 362, 731),
    "glucose": (325, 1, 264, 10457),
    "grimm": (2172, 43, 5, 2000),
    "moby": (7905, 60, 56, 2000),
    "moby_subwords": (7711, 30, 27, 2000),
    "ocean": (469, 1, 317, 3850),
    "parking": (162, 29, 88, 256),
    "purchases": (18856, 2357, 2, 82),
    "reuters": (5485, 2189, 5, 964),
    "traffic": (770, 1, 327, 6552),
    "traffic_numbers": (770, 1, 327, 6552),
    "vowels": (270, 370, 7, 29),
    "watch": (543, 3, 151, 5366),
    "weather": (443, 1, 111, 6552),
}
FROM_NPM = {"moby", "moby_subwords"}


@functools.cache
def load(name: str) -> DataSet:
    if name in FROM_NPM and shutil.which("npm") is None:
        pytest.skip(f"{name} is in an npm package, and npm is not installed")
    return data.load(name)


@pytest.mark.parametrize("name", data.names())
def test_a_data_set_has_the_published_size_and_describes_itself(name: str) -> None:
    data_set = load(name)
    lengths = [len(sequence) for sequence in data_set.train.sequences + data_set.test.sequences]
    assert (len(data_set.train), len(data_set.test), min(lengths), max(lengths)) == SIZES[name]
    assert data_set.name == name
    assert data_set.citation
    assert data_set.license
    columns = sum(input_.columns for input_ in data_set.inputs)
    for part in filter(None, (data_set.train, data_set.validation, data_set.test)):
        assert all(sequence.shape[1] == columns for sequence in part.sequences)
        assert all(sequence.dtype == np.float32 for sequence in part.sequences)


@pytest.mark.parametrize("name", data.names())
def test_only_declared_inputs_have_gaps_and_tokens_are_in_the_vocabulary(name: str) -> None:
    data_set = load(name)
    steps = np.concatenate(data_set.train.sequences + data_set.test.sequences)
    start = 0
    for input_ in data_set.inputs:
        values = steps[:, start : start + input_.columns]
        start += input_.columns
        assert np.isnan(values).any() == input_.has_gaps
        if input_.kind == "token":
            assert set(np.unique(values)) <= set(range(len(input_.vocabulary)))


@pytest.mark.parametrize("name", ["air", "co2", "ocean", "traffic", "glucose"])
def test_the_test_part_comes_after_the_training_and_validation_parts(name: str) -> None:
    """Its values are in no window of the other parts."""
    data_set = load(name)
    assert data_set.forecast is not None
    assert data_set.validation is not None
    probe = data_set.test.sequences[0][:200, 0]
    for part in (data_set.train, data_set.validation):
        for sequence in part.sequences:
            assert not np.array_equal(sequence[-200:, 0], probe, equal_nan=True)


def test_a_split_by_date_is_the_same_for_all_car_parks() -> None:
    data_set = load("parking")
    assert data_set.forecast is not None and data_set.validation is not None
    assert data_set.forecast.horizons == (1, 18)
    assert data_set.table is not None and data_set.table.time is not None
    days = [len(sequence) for sequence in data_set.test.sequences]
    assert max(days) == 250, "14 days of 18 half hours, two of which are missing"
    assert data_set.inputs[0].features[:2] == ("Occupancy", "Capacity")


def test_the_discharge_of_a_river_is_no_input() -> None:
    data_set = load("fulda")
    assert data_set.validation is not None
    assert [len(part.sequences[0]) for part in (data_set.validation, data_set.test)] == [730, 731]
    x, y = data_set.test.sequences[0], data_set.test.targets[0]
    assert x.shape == (731, 3) and y.shape == (731, 1)
    assert all(abs(np.corrcoef(column, y[:, 0])[0, 1]) < 0.5 for column in x.T)


def test_a_fairy_tale_is_in_one_part_alone() -> None:
    data_set = load("grimm")
    assert data_set.validation is not None
    parts = (data_set.train, data_set.validation, data_set.test)
    rows = [np.concatenate(part.sequences)[:, 0] for part in parts]
    texts = ["".join(data_set.labels[int(token)] for token in row) for row in rows]
    assert [len(text) for text in texts] == [276104, 42146, 78251]
    assert [text.count("two sons, the elder of who was smart and sensible") for text in texts].count(1) == 1


def test_targets_are_the_later_values() -> None:
    data_set = load("air")
    x, y = data_set.test.sequences[0], data_set.test.targets[0]
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


def test_a_calendar_is_cyclic() -> None:
    names, columns = series.calendar([datetime(2020, 1, 6, hour) for hour in (0, 6, 12)])
    assert names[:2] == ("hour_sin", "hour_cos")
    np.testing.assert_allclose(columns[:, :2], [[0, 1], [1, 0], [0, -1]], atol=1e-6)


def test_ocean_puts_readings_on_a_grid(tmp_path: Path) -> None:
    path = tmp_path / "sea.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("time,temperature\n2016-02-15 00:00:00+00:00,4.5\n2016-02-15 01:30:00+00:00,4.25\n")
    np.testing.assert_array_equal(ocean.on_grid(path)[:, 0], [4.5, np.nan, np.nan, 4.25])


def test_glucose_horizons_are_in_minutes_not_in_steps() -> None:
    minutes = np.array([0.0, 5, 10, 30, 31, 61])
    values = np.array([100, 110, 120, 130, 140, 150], np.float32)
    later = glucose.later(minutes, values)
    np.testing.assert_array_equal(later[:, 0], [130, np.nan, np.nan, 150, 150, np.nan])
    np.testing.assert_array_equal(later[:, 1], [150, np.nan, np.nan, np.nan, np.nan, np.nan])


def test_an_hour_has_all_kinds_of_weather_that_were_reported() -> None:
    rows = [
        {"date_time": f"2016-12-25 0{hour}:00:00", "weather_main": kind}
        for hour, kind in ((0, "Rain"), (0, "Mist"), (2, "Smoke"))
    ]
    hours = [datetime(2016, 12, 25, hour) for hour in range(3)]
    first, none, smoke = weather.labels_of(rows, hours)
    assert [kind for kind, value in zip(weather.KINDS, first, strict=True) if value] == ["Mist", "Rain"]
    assert np.isnan(none).all() and not smoke.any(), "smoke is no label, and no hour without a label"


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


def test_words_are_learned_from_the_training_part_alone() -> None:
    data_set = reuters.data_of([("earn", ["net"] * 3 + ["rare"])], [("earn", ["net", "unheard"])])
    assert data_set.inputs[0].vocabulary == ("<unknown>", "net")
    assert data_set.test.sequences[0][:, 0].tolist() == [1, 0]


def test_raw_news_become_the_ids_that_the_scores_were_measured_on() -> None:
    """The ids from before the tokenizer existed: positions in the vocabulary of words between spaces."""
    data_set = load("reuters")
    train, test = (reuters.read(path) for path in fetch(reuters.WHEEL))
    counts = Counter(word for _, words in train for word in words)
    vocabulary = ("<unknown>", *sorted(word for word, count in counts.items() if count >= 3))
    assert data_set.inputs[0].vocabulary == vocabulary
    assert data_set.inputs[0].unknown == 0
    number = {word: place for place, word in enumerate(vocabulary)}
    for (_, words), ids in zip(test, data_set.test.sequences, strict=True):
        assert [number.get(word, 0) for word in words] == ids[:, 0].tolist()
    written = "U.S. exporters' fear: 25 pct\nless TRADE"
    plain = [number[word] for word in ("u", "s", "exporters", "fear", "pct", "less", "trade")]
    assert tokens.read(data_set.inputs[0], written)[:, 0].tolist() == plain


def test_the_training_part_has_every_character_of_moby_dick() -> None:
    data_set, text = load("moby"), moby.text()
    [input_] = data_set.inputs
    assert data_set.validation is not None
    assert input_.vocabulary == data_set.labels == tuple(sorted(set(text)))
    assert tokens.learn_characters([moby.parts(text)[0]]) == input_
    for part, split in zip(
        moby.parts(text), (data_set.train, data_set.validation, data_set.test), strict=True
    ):
        number = {character: place for place, character in enumerate(input_.vocabulary)}
        assert [number[character] for character in part[:-1]] == joined(split)


def test_subwords_decode_to_the_book_and_are_learned_from_its_training_part() -> None:
    data_set, (train, _, test) = load("moby_subwords"), moby.parts(moby.text())
    [input_] = data_set.inputs
    assert tokens.learn_bpe([train], size=512) == input_
    targets = [float(token) for token in np.concatenate(data_set.test.targets)]
    ids = tokens.read(input_, test)[:, 0].tolist()
    assert targets == ids[1:]
    assert data_set.token_length == len(test) / len(ids)
    assert Tokenizer.from_str(input_.tokenizer or "").decode([int(token) for token in ids]) == test


def test_numbers_alone_are_those_of_the_traffic() -> None:
    whole, data_set = load("traffic"), load("traffic_numbers")
    assert data_set.inputs == whole.inputs[:2]
    width = sum(input_.columns for input_ in data_set.inputs)
    assert width == whole.test.sequences[0].shape[1] - 2
    assert np.array_equal(data_set.test.sequences[0], whole.test.sequences[0][:, :width], equal_nan=True)
    assert np.array_equal(data_set.test.targets[0], whole.test.targets[0], equal_nan=True)


def test_carbon_dioxide_has_the_published_weeks() -> None:
    data_set = load("co2")
    assert data_set.validation is not None
    weeks = data_set.train.sequences[0][:, 0]
    assert weeks[:3].tolist() == [np.float32(316.1), np.float32(317.3), np.float32(317.6)]
    assert data_set.test.sequences[0][-1, 0] == np.float32(371.5)
    x, y = data_set.test.sequences[0], data_set.test.targets[0]
    for column, horizon in enumerate((4, 26, 52)):
        assert np.array_equal(y[:-horizon, column], x[horizon:, 0], equal_nan=True)


def joined(split: Split) -> list[float]:
    """The first column of all sequences, one after the other."""
    first: list[float] = np.concatenate(split.sequences)[:, 0].tolist()
    return first


def test_the_target_of_a_character_is_the_next_one() -> None:
    data_set = moby.data_of("abc" * 100)
    x, y = data_set.train.sequences[0][:, 0], data_set.train.targets[0]
    assert data_set.labels == ("a", "b", "c")
    assert np.array_equal(x[1:], y[:-1])


def test_a_customer_is_known_up_to_the_day_of_the_prediction(tmp_path: Path) -> None:
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
    with pytest.raises(pickle.UnpicklingError, match="is not allowed in a data set"):
        refused(path)


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
