"""Figures show the numbers that they are drawn from, and are saved as PNG."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from training import figures
from training.figures import BLUE, MANY, ORANGE, ROWS
from training.figures.results import Panel
from training.figures.runs import MANY_CLASSES

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "figure.png"


def texts_of(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def legend_of(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def tick_labels(labels: list[Any]) -> list[str]:
    return [label.get_text() for label in labels]


def drawn(figure: Figure, path: Path, panels: int) -> list[Axes]:
    """The panels of a saved figure, without its colour bars."""
    assert path.read_bytes().startswith(PNG)
    axes = [one for one in figure.axes if one.get_label() != "<colorbar>"]
    assert len(axes) == panels
    return axes


def history(epochs: int) -> list[dict[str, float]]:
    return [
        {"epoch": number, "train_loss": 1 / number, "train_error": 2.0, "validation_loss": 1.5 / number,
         "validation_error": 3.0, "seconds": 0.1}
        for number in range(1, epochs + 1)
    ]  # fmt: skip


def test_learning_curves_have_a_panel_for_each_metric_and_a_line_at_the_best_epoch(path: Path) -> None:
    loss, error = drawn(figures.draw_learning_curves(history(5), best=3, path=path), path, 2)
    assert (loss.get_ylabel(), error.get_ylabel()) == ("loss", "error")
    assert (loss.get_yscale(), error.get_yscale()) == ("log", "linear")
    train, validation, best = loss.lines
    assert_allclose(np.asarray(train.get_ydata(), float), [1 / number for number in range(1, 6)])
    assert_allclose(np.asarray(validation.get_ydata(), float), [1.5 / number for number in range(1, 6)])
    assert set(np.asarray(best.get_xdata(), float)) == {3}
    assert legend_of(loss) == ["train", "validation", "best: epoch 3"]


def test_a_confusion_matrix_shows_counts_and_colours_shares(path: Path) -> None:
    counts = np.array([[3, 1], [0, 0]], np.int64)
    figure = figures.draw_confusion(counts, labels=("a", "b"), title="t", path=path)
    [axes] = drawn(figure, path, 1)
    assert sorted(texts_of(axes)) == ["1", "3"], "zeros are left empty"
    assert_allclose(np.asarray(axes.images[0].get_array()), [[0.75, 0.25], [0.0, 0.0]])
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("predicted", "true", "t")
    assert tick_labels(axes.get_yticklabels()) == ["a", "b"]


def test_a_confusion_matrix_grows_with_the_classes(tmp_path: Path) -> None:
    sizes = [
        figures.draw_confusion(
            np.eye(count, dtype=np.int64),
            labels=tuple(map(str, range(count))),
            title="",
            path=tmp_path / "f.png",
        ).get_size_inches()
        for count in (2, 9)
    ]
    assert (sizes[0] < sizes[1]).all()


def test_a_sweep_has_a_panel_for_each_field_and_marks_the_best_trial(path: Path) -> None:
    tried: dict[str, list[Any]] = {
        "hidden": [8, 16, 32],
        "cell": ["lstm", "gru", "rnn"],
        "learning_rate": [1e-4, 1e-3, 1e-2],
    }
    panels = drawn(figures.draw_sweep(tried, [0.3, 0.1, 0.2], path=path), path, 3)
    assert [axes.get_xlabel() for axes in panels] == list(tried)
    assert [axes.get_xscale() for axes in panels] == ["linear", "linear", "log"]
    points = panels[0].collections[0]
    colours = [to_hex(colour) for colour in points.get_facecolors()]  # type: ignore[attr-defined]
    offsets = np.asarray(points.get_offsets()).tolist()
    assert dict(zip(map(tuple, offsets), colours, strict=True)) == {
        (8, 0.3): BLUE, (16, 0.1): ORANGE, (32, 0.2): BLUE
    }  # fmt: skip


def test_a_boolean_field_is_not_drawn_as_a_number(path: Path) -> None:
    [axes] = drawn(figures.draw_sweep({"anneal": [True, False]}, [1.0, 2.0], path=path), path, 1)
    assert sorted(tick_labels(axes.get_xticklabels())) == ["False", "True"]


def test_scores_are_blue_if_the_median_is_better_than_the_baseline(path: Path) -> None:
    bars = [("better", [0.5, 0.9, 1.2]), ("worse", [0.9, 1.1, 1.3])]
    [axes] = drawn(figures.draw_scores(bars, path=path), path, 1)
    assert tick_labels(axes.get_yticklabels()) == ["better", "worse"]
    first, second = axes.collections
    assert to_hex(first.get_facecolors()[0]) == BLUE  # type: ignore[attr-defined]
    assert to_hex(second.get_facecolors()[0]) == ORANGE  # type: ignore[attr-defined]
    assert axes.yaxis_inverted(), "the first row is on top"
    assert axes.get_xlim()[0] == 0


def test_gates_share_a_scale_and_states_are_symmetric(path: Path) -> None:
    inside = {"in_gate": np.full((4, 2), 0.3, np.float32), "c": np.array([[-3, 1]] * 4, np.float32)}
    gate, state = drawn(figures.draw_inside(inside, title="layer 0", path=path), path, 2)
    assert gate.images[0].get_clim() == (0, 1)
    assert state.images[0].get_clim() == (-3, 3)
    assert np.asarray(gate.images[0].get_array()).shape == (2, 4), "a row is a unit, a column a step"


def test_a_state_of_zeros_has_a_scale(path: Path) -> None:
    [axes] = drawn(figures.draw_inside({"h": np.zeros((3, 2), np.float32)}, title="", path=path), path, 1)
    low, high = axes.images[0].get_clim()
    assert low < 0 < high


@pytest.mark.parametrize("count", [2, MANY])
def test_a_few_outputs_are_lines(path: Path, count: int) -> None:
    outputs = np.random.default_rng(0).random((5, count)).astype(np.float32)
    names = tuple(f"k{number}" for number in range(count))
    [axes] = drawn(figures.draw_outputs(outputs, names=names, path=path), path, 1)
    assert legend_of(axes) == list(names)
    for line, expected in zip(axes.lines, outputs.T, strict=True):
        assert_allclose(np.asarray(line.get_ydata(), float), expected)


def test_of_many_outputs_the_most_likely_are_rows_and_the_others_are_summed(path: Path) -> None:
    count = MANY + 5
    outputs = np.tile(np.arange(count, dtype=np.float32), (3, 1))
    names = tuple("\n" if number == count - 1 else f"k{number}" for number in range(count))
    [axes] = drawn(figures.draw_outputs(outputs, names=names, path=path), path, 1)
    labels = tick_labels(axes.get_yticklabels())
    assert labels[:2] == ["'\\n'", f"k{count - 2}"], "a line break is readable"
    assert labels[-1] == "the other 5"
    image = np.asarray(axes.images[0].get_array())
    assert_allclose(image[:, 0], [*range(count - 1, 4, -1), 0 + 1 + 2 + 3 + 4])


@pytest.mark.parametrize("with_truth", [True, False])
def test_a_forecast_has_a_panel_for_each_series_and_horizon(path: Path, with_truth: bool) -> None:
    outputs = np.arange(4 * 2 * 3, dtype=np.float32).reshape(4, 6)
    truth = np.full((4, 2), 7, np.float32) if with_truth else None
    figure = figures.draw_forecast(
        outputs, names=["a +1", "b +1"], quantiles=(0.05, 0.5, 0.95), truth=truth, path=path
    )
    first, second = drawn(figure, path, 2)
    assert (first.get_title(), second.get_title()) == ("a +1", "b +1")
    assert_allclose(np.asarray(first.lines[0].get_ydata(), float), outputs[:, 1])
    assert_allclose(np.asarray(second.lines[0].get_ydata(), float), outputs[:, 4])
    assert legend_of(first) == ["5% to 95%", "predicted, 50%", *(["actual"] if with_truth else [])]


def test_a_forecast_of_one_quantile_has_no_band_and_many_series_are_cut(path: Path) -> None:
    names = [f"s{number}" for number in range(MANY + 3)]
    outputs = np.zeros((60, len(names)), np.float32)
    panels = drawn(
        figures.draw_forecast(outputs, names=names, quantiles=(0.5,), truth=None, path=path), path, MANY
    )
    assert not panels[0].collections
    assert legend_of(panels[0]) == ["predicted, 50%"]


def test_saliency_keeps_the_largest_inputs_in_their_order(path: Path) -> None:
    count = ROWS + 2
    saliency = np.ones((3, count), np.float32)
    saliency[:, [0, 5]] = 0.01
    names = tuple(f"x{number}" for number in range(count))
    [axes] = drawn(figures.draw_saliency(saliency, names=names, of="up", path=path), path, 1)
    labels = tick_labels(axes.get_yticklabels())
    assert labels == [name for name in names if name not in ("x0", "x5")]
    assert axes.get_title() == f"contributions to 'up' at the last step, the {ROWS} largest of {count} inputs"
    assert axes.images[0].get_clim() == (-1, 1)


def test_a_compressed_figure_is_relative_to_the_one_before(path: Path) -> None:
    rows = {"weights": (100.0, 25.0), "nothing": (0.0, 0.0)}
    [axes] = drawn(figures.draw_compressed(rows, title="INT8", path=path), path, 1)
    assert [bar.get_width() for bar in axes.patches] == [0.25, 0]  # type: ignore[attr-defined]
    assert texts_of(axes)[0] == "100 → 25"
    assert axes.get_xlim()[1] >= 1


def test_stacks_are_dashed_in_the_colour_of_their_cell(path: Path) -> None:
    panels = {
        "untrained": {"lstm": [1.0, 0.1], "lstm, 4 layers": [1.0, 0.5], "gru": [1.0, 0.2]},
        "trained": {"rnn": [1.0, 0.1]},
    }
    axes, _ = drawn(figures.draw_lags(panels, path=path), path, 2)
    single, stack, other = axes.lines
    assert single.get_color() == stack.get_color() != other.get_color()
    assert (single.get_linestyle(), stack.get_linestyle()) == ("-", "--")
    assert axes.get_yscale() == "log"


def test_the_adding_problem_has_a_line_for_each_cell_and_both_levels(path: Path) -> None:
    errors = {"rnn": {25: 0.1}, "lstm": {25: 0.001, 50: 0.002}}
    [axes] = drawn(figures.draw_adding(errors, chance=1 / 6, solved=0.01, path=path), path, 1)
    assert legend_of(axes) == ["rnn", "lstm", "chance", "solved"]
    assert tick_labels(axes.get_xticklabels()) == ["25", "50"]
    assert [float(np.asarray(line.get_ydata())[0]) for line in axes.lines[2:]] == [1 / 6, 0.01]


def test_forecasts_are_drawn_with_their_band_at_the_moments_that_they_are_of(path: Path) -> None:
    steps = np.arange(3, 7)
    panel = Panel("a $1 +3 steps", steps, np.ones(4), np.zeros(4), np.full(4, -1.0), np.full(4, 2.0))
    figure = figures.draw_forecasts([[panel, panel], [panel]], band="5% to 95%", path=path)
    axes, *_ = drawn(figure, path, 4)
    actual, predicted = axes.lines
    assert np.asarray(actual.get_xdata()).tolist() == steps.tolist()
    assert (set(np.asarray(actual.get_ydata())), set(np.asarray(predicted.get_ydata()))) == ({1.0}, {0.0})
    assert len(axes.collections) == 1, "the band"
    assert axes.get_title() == "a $1 +3 steps"
    assert legend_of(figure.axes[1]) == ["5% to 95%", "actual", "predicted"]


def test_residuals_are_actual_minus_predicted(path: Path) -> None:
    predicted, actual = np.array([1.0, 2, 3]), np.array([2.0, 2, 6])
    scatter, histogram = drawn(figures.draw_residuals({"a": (predicted, actual)}, path=path), path, 2)
    assert np.asarray(scatter.collections[0].get_offsets()).tolist() == [[1, 1], [2, 0], [3, 3]]
    assert sum(patch.get_height() for patch in histogram.patches) == 3  # type: ignore[attr-defined]
    assert legend_of(histogram) == ["mean 1.33"]


def test_the_reliability_diagram_has_the_diagonal_and_the_counts(path: Path) -> None:
    confidence, accuracy, counts = np.array([0.6, 0.9]), np.array([0.5, 1.0]), np.array([4, 12])
    figure = figures.draw_reliability(confidence, accuracy, counts, error=0.1, path=path)
    upper, lower = drawn(figure, path, 2)
    diagonal, network = upper.lines
    assert np.asarray(diagonal.get_xydata()).tolist() == [[0, 0], [1, 1]]
    assert np.asarray(network.get_xydata()).tolist() == [[0.6, 0.5], [0.9, 1.0]]
    assert [patch.get_height() for patch in lower.patches] == [4, 12]  # type: ignore[attr-defined]


def test_long_labels_do_not_overlap_and_many_are_thinned_out(path: Path) -> None:
    names = tuple(f"class $number {number}" for number in range(12))
    figure = figures.draw_confusion(np.eye(12, dtype=np.int64), labels=names, title="$", path=path)
    [axes] = drawn(figure, path, 1)
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert not any(one.overlaps(other) for one, other in pairwise(boxes))
    figure = figures.draw_confusion(
        np.eye(500, dtype=np.int64), labels=tuple(map(str, range(500))), title="", path=path
    )
    assert max(figure.get_size_inches()) < 20
    assert len(figure.axes[0].get_xticklabels()) <= MANY_CLASSES
