"""Series: later values, cycles, windows."""

import math
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import series


@pytest.mark.parametrize(("text", "value"), [("1.5", 1.5), ("-2", -2), (" 3 ", 3), ("1e3", 1000)])
def test_a_number_is_parsed(text: str, value: float) -> None:
    assert series.number(text) == value


@pytest.mark.parametrize("text", ["", "NA", "?"])
def test_a_missing_number_is_nan(text: str) -> None:
    assert math.isnan(series.number(text))


def test_anything_else_is_no_number() -> None:
    with pytest.raises(ValueError, match="none"):
        series.number("none")


def test_rows_of_a_csv_file_are_by_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,"x,y"\n2,\n')
    assert series.read_csv(path) == [{"a": "1", "b": "x,y"}, {"a": "2", "b": ""}]


@given(st.integers(1, 40), st.lists(st.integers(1, 50), min_size=1, max_size=4))
def test_ahead_gives_the_value_this_many_steps_later(steps: int, horizons: list[int]) -> None:
    values = np.arange(steps, dtype=np.float64)
    later = series.ahead(values, horizons)
    assert later.shape == (steps, len(horizons))
    assert later.dtype == np.float32
    for step in range(steps):
        for column, horizon in enumerate(horizons):
            expected = step + horizon if step + horizon < steps else np.nan
            np.testing.assert_equal(later[step, column], np.float32(expected))


@given(st.floats(-5, 5), st.integers(-3, 3))
def test_a_wave_has_period_one_and_length_one(phase: float, turns: int) -> None:
    one, other = series.wave(np.array([phase, phase + turns]))
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.hypot(*one) == pytest.approx(1, abs=1e-6)


def test_a_wave_distinguishes_the_quarters_of_a_cycle() -> None:
    quarters = series.wave(np.array([0, 0.25, 0.5, 0.75])).round(6) + 0.0
    assert quarters.tolist() == [[0, 1], [1, 0], [0, -1], [-1, 0]]


@given(st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1)))
def test_the_calendar_repeats_after_a_day_and_a_week(moment: datetime) -> None:
    names, columns = series.calendar([moment, moment + timedelta(days=1), moment + timedelta(days=7)])
    assert names == ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos", "year_sin", "year_cos")
    np.testing.assert_allclose(columns[0, :2], columns[1, :2], atol=1e-6)
    np.testing.assert_allclose(columns[0, :4], columns[2, :4], atol=1e-6)
    assert np.abs(columns[0, 2:4] - columns[1, 2:4]).max() > 0.1


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20))
def test_windows_cover_every_step_if_they_are_not_sparse(length: int, steps: int, stride: int) -> None:
    x = np.arange(length, dtype=np.float32)[:, None]
    split = series.windows(x, np.arange(length), steps=steps, stride=min(stride, steps))
    covered = {int(value) for sequence in split.sequences for value in sequence[:, 0]}
    assert covered == set(range(length))
    for sequence, targets in zip(split.sequences, split.targets, strict=True):
        assert 1 <= len(sequence) <= steps
        assert sequence[:, 0].tolist() == targets.tolist()
        assert sequence.flags["C_CONTIGUOUS"]


@given(st.integers(1, 60))
def test_whole_is_one_sequence(length: int) -> None:
    x = np.ones((length, 2), np.float32)
    split = series.whole(x, np.arange(length))
    assert len(split) == 1
    assert split.sequences[0].shape == (length, 2)
