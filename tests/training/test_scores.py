"""The page of scores: from run folders to Markdown, and the committed one is what the command writes."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from training import data, scores
from training.__main__ import main
from training.config import Config, Recipe
from training.seeds import train_seeds

DOCS = Path(__file__).parents[2] / "docs"


def call(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_committed_page_is_written_from_the_committed_figures(tmp_path: Path) -> None:
    found = scores.read(DOCS / "scores.json")
    assert (DOCS / "scores.md").read_text() == scores.write(found)
    assert {scored.name for scored in found.sets} >= {"vowels", "air", "moby", "reuters", "traffic", "watch"}
    assert all(len(scored.seeds) == 5 for scored in found.sets)
    (tmp_path / "scores.json").write_bytes((DOCS / "scores.json").read_bytes())
    call("scores", tmp_path, "--out", tmp_path, "--again")
    assert (tmp_path / "scores.json").read_bytes() == (DOCS / "scores.json").read_bytes()


def test_every_data_set_has_its_scores_and_its_command_in_the_documents() -> None:
    assert [scored.name for scored in scores.read(DOCS / "scores.json").sets] == data.names()
    told = (DOCS / "training.md").read_text()
    assert all(f"cellgate-train train {name}" in told for name in data.names())


def test_runs_become_a_page_with_baselines_and_a_picture(tmp_path: Path) -> None:
    config = Config(data="vowels", recipe=Recipe(hidden=8, epochs=1))
    rows = train_seeds(config, tmp_path / "runs" / "vowels", count=2)
    assert "1 data sets" in call("scores", tmp_path / "runs", "--out", tmp_path)
    [scored] = scores.read(tmp_path / "scores.json").sets
    assert scored.ours("accuracy") == sorted(row["test_accuracy"] for row in rows)
    assert scored.best_baseline("accuracy")[0] == "summary, logistic regression"
    page = (tmp_path / "scores.md").read_text()
    assert "`cellgate-train train vowels --hidden 8" in page
    assert "| nearest by DTW | 0.9486 |" in page
    assert "**The best baseline is better than ours** by the median in: vowels: accuracy." in page
    assert "243 sequences to\nlearn from, 27 for validation, 370 to be measured on." in page
    assert (tmp_path / "scores.png").stat().st_size > 1000


def test_a_run_on_a_table_of_ones_own_is_left_out(tmp_path: Path) -> None:
    """It ended in an import of a data set of the table's name."""
    table = tmp_path / "two.csv"
    table.write_text("x,y\n" + "".join(f"{row % 5},{row % 7}\n" for row in range(100)))
    words = ("--target", "y", "--hidden", "4", "--epochs", "1", "--seeds", "2")
    call("train", "--data", table, *words, "--out", tmp_path / "runs" / "two")
    with pytest.raises(scores.ScoresError, match="no finished runs"):
        scores.collect(tmp_path / "runs")


def test_a_folder_without_runs_says_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(scores.ScoresError, match="no finished runs; `cellgate-train train DATA --seeds 5`"):
        scores.collect(tmp_path)
    with pytest.raises(scores.ScoresError, match=r"scores\.json"):
        scores.read(tmp_path / "scores.json")
