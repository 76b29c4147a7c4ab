"""The type of a column: numbers, categories, times, and the errors in between."""

from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.columns import FEW, MOST_CATEGORIES, find, typed
from training.data.file import TableError

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


def series(values: list[Any], name: str = "x", **fields: Any) -> pl.Series:
    return pl.Series(name, values, **fields)


@given(st.lists(st.one_of(st.none(), NUMBERS), min_size=1, max_size=30))
def test_texts_that_all_parse_are_numbers(values: list[float | None]) -> None:
    texts = series([None if value is None else f" {value!r} " for value in values], dtype=pl.String)
    column = typed(texts)
    assert column.kind == "number"
    assert column.values.to_list() == values
    assert column.num_missing == values.count(None)
    assert column.is_empty == all(value is None for value in values)
    assert column.categories == ()


@given(st.lists(st.sampled_from(["red", "green", "blue", None]), min_size=1, max_size=30))
def test_other_texts_are_categories_in_alphabetical_order(values: list[str | None]) -> None:
    column = typed(series([*values, "red"], dtype=pl.String))
    assert column.kind == "category"
    assert column.categories == tuple(sorted({value for value in [*values, "red"] if value}))


@pytest.mark.parametrize("dtype", [pl.Int64, pl.Float32, pl.UInt8])
def test_numeric_columns_are_numbers_unless_declared_categorical(dtype: Any) -> None:
    values = series([1, 2, 1, None], dtype=dtype)
    assert typed(values).kind == "number"
    column = typed(values, is_category=True)
    assert column.kind == "category"
    assert len(column.categories) == 2
    assert column.num_missing == 1


def test_booleans_are_categories() -> None:
    assert typed(series([True, False, None])).categories == ("false", "true")


def test_nan_is_missing() -> None:
    column = typed(series([1.0, float("nan"), 3.0]))
    assert column.values.to_list() == [1.0, None, 3.0]


@pytest.mark.parametrize("bad", [1, 2])
def test_a_column_with_a_few_texts_among_numbers_is_a_mistake(bad: int) -> None:
    values = [str(number) for number in range(20 - bad)] + ["n.a."] * bad
    with pytest.raises(TableError, match=rf"row {22 - bad}, column 'x': 'n.a.' is not a number, but"):
        typed(series(values))
    assert typed(series(values), is_category=True).kind == "category"


def test_a_column_with_many_texts_among_numbers_is_a_category() -> None:
    assert typed(series(["1", "2", "three", "four"])).kind == "category"


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), 1e39, -3.5e38])
def test_a_number_beyond_float32_is_refused(value: float) -> None:
    with pytest.raises(TableError, match=r"row 3, column 'x': .* is too large a number"):
        typed(series([1.0, value]))


def test_the_largest_float32_is_accepted() -> None:
    largest = float(np.finfo(np.float32).max)
    assert typed(series([largest, -largest])).kind == "number"


@pytest.mark.parametrize(
    "value", [datetime(2024, 1, 1), date(2024, 1, 1), time(12), timedelta(hours=1)], ids=repr
)
def test_a_time_is_neither_number_nor_category(value: Any) -> None:
    with pytest.raises(TableError, match="column 'x' holds times: name it as --time-column, or --ignore it"):
        typed(series([value]))


def test_a_list_is_refused() -> None:
    with pytest.raises(TableError, match=r"column 'x' holds List\(Int64\), not a number, text or time"):
        typed(series([[1, 2]]))


def test_too_many_categories_are_refused_with_a_reason() -> None:
    different = [f"n{number}" for number in range(MOST_CATEGORIES + 1)]
    with pytest.raises(TableError, match=r"1001 different texts, .*: nearly every row has a different text"):
        typed(series(different))
    with pytest.raises(TableError, match=r"1001 different texts, .*: --ignore it"):
        typed(series(different * 3))
    assert len(typed(series(different[1:] * 3)).categories) == MOST_CATEGORIES


def test_decimal_commas_and_unique_texts_are_doubtful() -> None:
    assert "decimal comma, such as '1,5'" in typed(series(["1,5", "2,5"])).doubt
    unique = [f"n{number}" for number in range(FEW)]
    assert "nearly every row has a different text" in typed(series(unique)).doubt
    assert typed(series(unique[:-1])).doubt == "", "so few rows may differ"
    assert typed(series(unique), is_category=True).doubt == "", "declared by the user"
    assert typed(series(["a", "b"] * 20)).doubt == ""


def test_a_similar_name_is_proposed() -> None:
    frame = pl.DataFrame({"temperature": [1], "humidity": [2]})
    assert find(frame, "humidity", "--target").to_list() == [2]
    with pytest.raises(TableError, match=r"--target 'temprature': .* did you mean 'temperature'"):
        find(frame, "temprature", "--target")
    with pytest.raises(TableError, match=r"no such column among temperature, humidity$"):
        find(frame, "q", "--target")
