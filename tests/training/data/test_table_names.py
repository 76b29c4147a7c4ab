"""Columns, targets, horizons, forecasts and labels of a table are matched by name, whatever their order."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.manifest import Manifest
from tests.training.data.test_table import call, table_of, write
from training import run
from training.data.dataset import DataSet
from training.data.description import TABLE_FILE
from training.data.file import TableError
from training.data.table import load


def by_name(data: DataSet) -> dict[str, Any]:
    """All numbers of a forecast by the names of their columns, targets and horizons, in the order of time."""
    [numbers] = data.inputs
    forecast, table, split = data.forecast, data.table, data.test
    assert forecast is not None and table is not None
    x, truth = np.concatenate(split.sequences), np.concatenate(split.targets)
    targets = [(series, steps) for series in data.labels for steps in forecast.horizons]
    now = {
        series: x[:, column].tolist() for series, column in zip(data.labels, forecast.columns, strict=True)
    }
    assert {column.name: numbers.features[column.place] for column in table.columns} == {
        name: name for name in numbers.features
    }
    return {
        "inputs": {name: x[:, place].tolist() for place, name in enumerate(numbers.features)},
        "now": now,
        "ahead": {name: np.nan_to_num(truth[:, place]).tolist() for place, name in enumerate(targets)},
    }


@settings(max_examples=25)
@given(st.permutations("abct"), st.permutations("abc"), st.integers(1, 3), st.permutations((1, 2, 5)))
def test_columns_targets_and_horizons_are_matched_by_name(
    tmp_path_factory: pytest.TempPathFactory,
    columns: list[str], names: list[str], count: int, horizons: list[int],
) -> None:  # fmt: skip
    """Targets in another order than that of the file were forecast from, and compared with, wrong columns."""
    rng = np.random.default_rng(0)
    values = {name: rng.normal(100 * place, 1, 60).round(3) for place, name in enumerate("abc")}
    frame = pl.DataFrame(values | {"t": np.arange(60) + rng.integers(0, 2, 60) / 4})
    folder, targets = tmp_path_factory.mktemp("order"), names[:count]
    frame.select(columns).write_csv(folder / "t.csv")
    frame.write_csv(folder / "plain.csv")
    mixed, plain = (
        by_name(load(table_of(folder / file, *order, time_column="t", horizons=steps)))
        for file, order, steps in (
            ("t.csv", targets, tuple(horizons)),
            ("plain.csv", sorted(targets), tuple(sorted(horizons))),
        )
    )
    assert mixed == plain
    for name in targets:
        assert mixed["now"][name] == mixed["inputs"][name], "the last value is that of the same column"
        for steps in horizons:
            assert mixed["ahead"][name, steps][:-steps] == mixed["inputs"][name][steps:]


def test_a_forecast_of_targets_in_another_order_is_trained_evaluated_and_exported_by_name(
    tmp_path: Path,
) -> None:
    """The forecasts of `far`, around 50, were labelled `near`, around 0."""
    rng = np.random.default_rng(0)
    rows = [{"near": rng.normal(0, 1), "k": n % 3, "far": rng.normal(50, 1)} for n in range(120)]
    path = write(tmp_path / "two.csv", rows)
    result = call("--data", path, "--target", "far", "--target", "near", "--hidden", 4, "--epochs", 1,
                  "--out", tmp_path / "run", "--export", tmp_path / "m" / "1")  # fmt: skip
    assert result.exit_code == 0, result.output
    manifest = Manifest.read(tmp_path / "m" / "1")
    assert manifest.example is not None
    assert isinstance(manifest.example.output, list)
    [output] = manifest.outputs
    for label, forecast, value in zip(output.labels, output.forecasts, manifest.example.output, strict=True):
        assert label.split()[0] == forecast.feature
        assert abs(value - {"near": 0, "far": 50}[forecast.feature]) < 20
    metrics = run.read_metrics(tmp_path / "run")
    assert max(metrics["test_error_near_+1step"], metrics["test_error_far_+1step"]) < 10
    assert manifest.table is not None
    assert manifest.table.targets == ("far", "near")

    kept = tmp_path / "run" / TABLE_FILE
    kept.write_text(kept.read_text().replace('"number"', '"category"', 1))
    with pytest.raises(TableError, match=r"reads the table otherwise .*columns in table.json"):
        run.read(tmp_path / "run")
    kept.unlink()  # as older runs are
    with pytest.raises(TableError, match=r"mixed up targets given in another order .far, near. than that"):
        run.read(tmp_path / "run")
