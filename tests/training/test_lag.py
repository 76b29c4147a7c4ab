"""Gradients by lag and the adding problem on known cases; the committed page."""

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from training import cells, lag
from training.__main__ import main
from training.cells.cell import Cell

DOCS = Path(__file__).parents[2] / "docs"
MARKS = f"before\n{lag.BEGIN}old\n{lag.END}after\n"


def test_an_rnn_forgets_and_an_lstm_with_open_forget_gates_does_not() -> None:
    def remembering(name: str, **size: Any) -> Cell:
        cell = cells.build(name, **size)
        if name == "lstm":
            with torch.no_grad():
                cell.get_parameter("rnn.bias_ih_l0")[size["hidden"] : 2 * size["hidden"]] = 9.0
        return cell

    rnn, lstm = (
        lag.gradient(cell, layers=1, steps=100, hidden=16, seeds=2, build=remembering)
        for cell in ("rnn", "lstm")
    )
    assert rnn.norms[0] == lstm.norms[0] == 1
    assert rnn.norms[99] < 1e-9
    assert lstm.norms[99] > 1e-3


def test_the_sum_is_that_of_the_marked_values_one_in_each_half() -> None:
    x, total = lag.problem(10, 200, torch.Generator().manual_seed(0))
    assert x.shape == (200, 10, 2)
    assert (x[:, :5, 1].sum(1) == 1).all()
    assert (x[:, 5:, 1].sum(1) == 1).all()
    torch.testing.assert_close((x[..., 0] * x[..., 1]).sum(1), total)
    assert float((total - 1).square().mean()) == pytest.approx(lag.CHANCE, rel=0.3)


def test_a_short_sum_is_learned() -> None:
    result = lag.adding("gru", 4, updates=1500, hidden=16)
    assert result.is_solved
    assert result.updates < 1500
    assert len(result.norms) == 4


def test_the_command_replaces_the_marked_section(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(MARKS)
    words = ["lag", "--page", str(page), "--length", "4", "--length", "6", "--updates", "2", "--steps", "5"]
    result = CliRunner().invoke(main, [*words, "--hidden", "4"])
    assert result.exit_code == 0, result.output
    assert result.output.count("after 2 updates") == len(lag.CELLS), "a cell that fails skips longer ones"
    text = page.read_text()
    assert text.startswith(f"before\n{lag.BEGIN}The gradient")
    assert text.endswith(f"{lag.END}after\n")
    assert {path.name for path in tmp_path.iterdir()} == {"page.md", "lag.json", "lag.png", "adding.png"}


def test_without_a_page_the_tables_go_to_a_folder_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It replaced a section of docs/lstm.md without having been told to."""
    monkeypatch.chdir(tmp_path)
    words = ["lag", "--length", "4", "--length", "4", "--updates", "1", "--steps", "5", "--hidden", "4"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert result.output.count("4 steps") == len(lag.CELLS), "each length once"
    written = {path.name for path in (tmp_path / "runs" / "lag").iterdir()}
    assert written == {"lag.md", "lag.json", "lag.png", "adding.png"}


def test_one_cell_is_measured_again_and_the_others_stay(tmp_path: Path) -> None:
    """A new cell costs a run of that cell, not of all."""

    def call(*more: str) -> Result:
        size = ["--length", "4", "--steps", "5", "--hidden", "4", "--out", str(tmp_path)]
        return CliRunner().invoke(main, ["lag", *size, *more])

    def read() -> lag.Lags:
        return lag.Lags.model_validate_json((tmp_path / "lag.json").read_bytes())

    first = lag.measure((4,), updates=1, steps=5, hidden=4, only=("lstm", "min_gru"))
    (tmp_path / "lag.json").write_text(first.model_dump_json())
    result = call("--updates", "1", "--cell", "lstm")
    assert result.exit_code == 0, result.output
    assert read() == first, "the same seeds"
    table = (tmp_path / "lag.md").read_text()
    assert table.index("| lstm |") < table.index("| min_gru |")
    refused = call("--updates", "2", "--cell", "lstm")
    assert refused.exit_code == 1
    assert "the other cells were measured with --updates 1 --steps 5 --hidden 4" in refused.output
    assert "--cell skip: expected one of rnn, gru, lstm" in call("--cell", "skip").output
    assert read() == first


@pytest.mark.parametrize("where", ["--page", "--out"])
def test_where_the_result_goes_is_checked_before_it_is_computed(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: object, **__: object) -> lag.Lags:
        raise AssertionError("it computed")

    monkeypatch.setattr(lag, "measure", measure)
    path = tmp_path / "page.md"
    path.write_text("nothing here")
    result = CliRunner().invoke(main, ["lag", where, str(path if where == "--page" else path / "below")])
    assert result.exit_code == 1, result.output
    assert str(path) in result.output


def test_a_page_without_marks_is_not_changed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here")
    lags = lag.Lags(hidden=1, most_updates=1, gradients=[], adding=[])
    with pytest.raises(lag.LagError, match="expected the lines"):
        lag.write_page(page, lags)
    assert page.read_text() == "nothing here"


def test_the_committed_page_equals_the_written_one(tmp_path: Path) -> None:
    lags = lag.Lags.model_validate_json((DOCS / "lag.json").read_bytes())
    page = tmp_path / "lstm.md"
    page.write_bytes((DOCS / "lstm.md").read_bytes())
    lag.write_page(page, lags)
    assert page.read_bytes() == (DOCS / "lstm.md").read_bytes()
