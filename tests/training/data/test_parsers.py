"""The parsers of the real data sets, on small files of their formats."""

import gzip
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import glucose, moby, moby_subwords, ocean, purchases, reuters, traffic, vowels, watch
from training.data.dataset import Split


def test_a_ts_file_may_have_sequences_of_different_lengths(tmp_path: Path) -> None:
    path = tmp_path / "t.ts"
    path.write_text("@x\n@data\n1:2:1\n1,2:3,4:9\n\n")
    split = vowels.read(path)
    assert [sequence.tolist() for sequence in split.sequences] == [[[1, 2]], [[1, 3], [2, 4]]]
    assert split.targets.tolist() == [0, 8]


def test_an_unknown_speaker_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.ts"
    path.write_text("@data\n1:2:10\n")
    with pytest.raises(ValueError, match="not in tuple"):
        vowels.read(path)


def test_a_glucose_file_is_sorted_and_readings_without_value_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "cgm.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write(
            "index,time,value\n0,2010-01-01T00:10:00,110\n1,2010-01-01T00:05:00,105\n2,2010-01-01T00:20:00,\n"
        )
    minutes, values = glucose.read(path)
    assert minutes.tolist() == [5, 10]
    assert values.tolist() == [105, 110]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_a_later_glucose_reading_is_near_its_moment(steps: list[int]) -> None:
    minutes = np.cumsum(steps).astype(np.float64)
    values = minutes.astype(np.float32)  # a reading is its own time
    later = glucose.later(minutes, values)
    for column, wait in enumerate(glucose.AHEAD_MIN):
        known = ~np.isnan(later[:, column])
        assert (np.abs(later[known, column] - minutes[known] - wait) <= glucose.NEAR_MIN).all()
        for row in np.flatnonzero(~known):
            assert (np.abs(minutes - minutes[row] - wait) > glucose.NEAR_MIN).all()


def test_ocean_readings_off_the_half_hour_go_to_the_nearest_place(tmp_path: Path) -> None:
    path = tmp_path / "sea.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("time,temperature\n2016-02-15 00:00:00+00:00,1\n2016-02-15 00:40:00+00:00,2\n")
    np.testing.assert_array_equal(ocean.on_grid(path)[:, 0], [1, 2])


def test_purchases_of_one_day_are_one_event_and_customers_are_apart(tmp_path: Path) -> None:
    path = tmp_path / "cdnow.txt"
    path.write_text("header\n 1 19970101 1 10.0\n 1 19970101 2 5.5\n 1 19970301 1 1.0\n 2 19970301 1 2.0\n")
    first, second = purchases.read(path)
    assert first == [(date(1997, 1, 1), 3, 15.5), (date(1997, 3, 1), 1, 1.0)]
    assert second == [(date(1997, 3, 1), 1, 2.0)]


def test_a_purchase_on_the_day_of_the_prediction_is_known_and_a_later_one_is_not() -> None:
    events = [(purchases.FIRST, 1.0, 2.0), (purchases.PREDICTED, 3.0, 4.0), (date(1997, 10, 1), 5.0, 6.0)]
    sequence = purchases.sequence(events)
    days = (purchases.PREDICTED - purchases.FIRST).days
    assert sequence.tolist() == [[0, 1, 2], [days, 3, 4], [0, 0, 0]]


def test_reuters_lines_are_a_topic_and_its_words(tmp_path: Path) -> None:
    path = tmp_path / "r8.tab"
    path.write_text("a\nb\nc\nearn\tnet profit rose\n\nship\tthe ship\n")
    assert reuters.read(path) == [("earn", ["net", "profit", "rose"]), ("ship", ["the", "ship"])]


def test_reuters_topics_are_numbered_in_alphabetical_order() -> None:
    data = reuters.data_of([("ship", ["a"] * 3), ("earn", ["a"])], [("ship", ["a"])])
    assert data.labels == ("earn", "ship")
    assert data.train.targets.tolist() == [1, 0]
    assert data.test.targets.tolist() == [1]


ROW = {
    "temp": "280",
    "rain_1h": "0",
    "snow_1h": "0",
    "clouds_all": "1",
    "weather_main": "Rain",
    "holiday": "None",
}


def test_the_last_of_several_traffic_rows_of_an_hour_counts() -> None:
    rows = [
        ROW | {"date_time": "2016-01-01 00:00:00", "traffic_volume": "1"},
        ROW | {"date_time": "2016-01-01 00:00:00", "traffic_volume": "2", "weather_main": "Snow"},
    ]
    times, grid, skies, holidays = traffic.on_grid(rows)
    assert times == [datetime(2016, 1, 1)]
    assert (grid[0, 0], skies, holidays) == (2, ["Snow"], ["None"])


@pytest.mark.parametrize(
    ("field", "value", "is_valid"),
    [("temp", "330", True), ("temp", "331", False), ("snow_1h", "11", False), ("clouds_all", "?", False)],
)
def test_impossible_weather_is_missing(field: str, value: str, is_valid: bool) -> None:
    row = ROW | {"date_time": "2016-01-01 00:00:00", "traffic_volume": "1", field: value}
    _, grid, _, _ = traffic.on_grid([row])
    assert np.isnan(grid[0, 1 + traffic.NUMBERS.index(field)]) == (not is_valid)


def tokens_of(split: Split) -> list[int]:
    return [int(token) for sequence in split.sequences for token in sequence[:, 0]]


@given(st.text("ab c", min_size=200, max_size=400))
def test_the_parts_of_a_book_are_in_order_and_complete(book: str) -> None:
    assert "".join(moby.parts(book)) == book
    train, validation, test = moby.parts(book)
    assert len(train) > len(test) > len(validation) > 0


def test_the_windows_of_a_book_do_not_overlap() -> None:
    data = moby.data_of("the whale " * 200)
    train, *_ = moby.parts("the whale " * 200)
    assert len(tokens_of(data.train)) == len(train) - 1
    assert {len(sequence) for sequence in data.train.sequences[:-1]} == {128}
    assert data.token_length == pytest.approx(1, abs=0.01)


def test_subwords_are_longer_than_characters() -> None:
    data = moby_subwords.data_of("the whale " * 400, size=300)
    assert data.beside == "moby"
    assert data.token_length > 2
    assert {len(sequence) for sequence in data.train.sequences[:-1]} == {64}


def recordings(people: list[int], length: int) -> dict[str, object]:
    """A file of the watch: one recording each, of class = person % 7."""
    x = np.empty(len(people), dtype=object)
    x[:] = [np.arange(length * 6, dtype=np.float64).reshape(length, 6) + person for person in people]
    return {"subject": np.array(people), "X": x, "y": np.array([person % 7 for person in people])}


def test_recordings_of_a_watch_are_averaged_and_joined() -> None:
    x, y = watch.stream(recordings([3, 3, 8], 13), 3)
    assert x.shape == (2 * (13 // watch.EVERY), 6)
    assert set(y.tolist()) == {3}
    expected = np.arange(13 * 6).reshape(13, 6)[: watch.EVERY].mean(axis=0) + 3
    np.testing.assert_allclose(x[0], expected, rtol=1e-6)


def test_the_order_of_the_recordings_is_fixed() -> None:
    data = recordings([5] * 9, 10)
    data["y"] = np.arange(9)
    first, second = watch.stream(data, 5)[1], watch.stream(data, 5)[1]
    assert first.tolist() == second.tolist() != sorted(first.tolist())


def test_ts_files_are_read_channel_by_channel(tmp_path: Path) -> None:
    path = tmp_path / "two.ts"
    path.write_text("#c\n@problemName two\n@data\n1,2,3:4,5,6:2\n7:8:9\n")
    split = vowels.read(path)
    assert split.sequences[0].tolist() == [[1, 4], [2, 5], [3, 6]]
    assert split.sequences[1].tolist() == [[7, 8]]
    assert split.targets.tolist() == [1, 8]
