"""The page of scores: from run folders to Markdown; the committed page is up to date."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from training import data, scores
from training.__main__ import main
from training.config import Config, Recipe
from training.data.dataset import Published
from training.elsewhere import Row
from training.scored import Scores, ScoresError, read
from training.scores_page import write
from training.seeds import Table, train_seeds

DOCS = Path(__file__).parents[2] / "docs"
FROM_NPM = {"moby_subwords"}
SEED_ROW = re.compile(r"^\| \d \| [\d.]+ \| ([\d.]+) \|", re.MULTILINE)


def call(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_committed_page_equals_the_written_one(tmp_path: Path) -> None:
    committed = read(DOCS / "scores.json")
    assert (DOCS / "scores.md").read_text() == write(committed)
    assert {scored.name for scored in committed.sets} >= {
        "vowels",
        "air",
        "moby",
        "reuters",
        "traffic",
        "watch",
    }
    assert all(len(scored.seeds) >= 3 for scored in committed.sets)
    (tmp_path / "scores.json").write_bytes((DOCS / "scores.json").read_bytes())
    call("scores", tmp_path, "--out", tmp_path, "--again")
    assert (tmp_path / "scores.json").read_bytes() == (DOCS / "scores.json").read_bytes()


def test_every_data_set_has_its_scores_and_its_command_in_the_documents() -> None:
    assert [scored.name for scored in read(DOCS / "scores.json").sets] == data.names()
    page = (DOCS / "data-sets.md").read_text()
    assert all(f"cellgate-train train {name}" in page for name in data.names())


def test_the_committed_descriptions_are_those_of_the_data_sets() -> None:
    for scored in read(DOCS / "scores.json").sets:
        assert scored.about == data.about(scored.name), "cellgate-train scores RUNS --out docs"


@pytest.mark.parametrize("name", ["vowels", "moby_subwords"])
def test_committed_fields_that_need_no_runs_are_up_to_date(name: str) -> None:
    if name in FROM_NPM and shutil.which("npm") is None:
        pytest.skip(f"{name} is in an npm package, and npm is not installed")
    [old] = (scored for scored in read(DOCS / "scores.json").sets if scored.name == name)
    new = scores.renew(old)
    assert new.model_copy(update={"baselines": old.baselines}) == old
    assert new.baselines.keys() == old.baselines.keys()
    for baseline, measured in new.baselines.items():
        assert measured == pytest.approx(old.baselines[baseline])


def test_subwords_and_characters_are_both_scored_in_bits_per_character() -> None:
    by_name = {scored.name: scored for scored in read(DOCS / "scores.json").sets}
    characters, subwords = (by_name[name] for name in ("moby", "moby_subwords"))
    assert characters.published == subwords.published
    assert 2 < subwords.baselines["1-grams"]["bits"] < characters.baselines["1-grams"]["bits"]


def test_a_comparison_data_set_is_a_row_of_the_other_section() -> None:
    committed = read(DOCS / "scores.json")
    for name, other in (("traffic", "traffic_numbers"), ("moby", "moby_subwords")):
        section = write(committed).split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert f"](#{other}), 5 seeds | **" in section


def test_the_seeds_of_the_training_page_are_those_of_the_scores() -> None:
    [vowels] = (scored for scored in read(DOCS / "scores.json").sets if scored.name == "vowels")
    rows = SEED_ROW.findall((DOCS / "training.md").read_text())
    assert [float(accuracy) for accuracy in rows] == [round(seed["accuracy"], 4) for seed in vowels.seeds]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Table]:
    """A folder of runs on vowels alone, and the scores of two seeds."""
    folder = tmp_path_factory.mktemp("runs")
    config = Config(data="vowels", recipe=Recipe(hidden=8, epochs=1))
    return folder, train_seeds(config, folder / "vowels", count=2)


def test_data_sets_without_runs_keep_their_scores_and_are_renewed(
    trained: tuple[Path, Table], tmp_path: Path
) -> None:
    committed = {scored.name: scored for scored in read(DOCS / "scores.json").sets}
    digits = committed["digits"]
    stale = digits.model_copy(update={"about": "", "published": [Published("other", "1.0", "unknown")]})
    own = stale.model_copy(update={"name": "a user's table"})
    before = Scores(sets=[stale, own, committed["vowels"]])
    (tmp_path / "scores.json").write_text(before.model_dump_json())
    assert "3 data sets" in call("scores", trained[0], "--out", tmp_path)
    after = read(tmp_path / "scores.json").sets
    assert after[0] == own
    assert after[1].model_copy(update={"baselines": digits.baselines}) == digits
    assert after[1].baselines["nearest by DTW"] == digits.baselines["nearest by DTW"]
    assert len(after[2].seeds) == 2, "there are runs of it"
    assert "1 data sets" in call("scores", trained[0], "--out", tmp_path, "--only")
    assert CliRunner().invoke(main, ["scores", str(tmp_path), "--again", "--only"]).exit_code == 2


def test_runs_become_a_page_with_baselines_and_a_picture(trained: tuple[Path, Table], tmp_path: Path) -> None:
    folder, rows = trained
    assert "1 data sets" in call("scores", folder, "--out", tmp_path)
    [scored] = read(tmp_path / "scores.json").sets
    assert scored.ours("accuracy") == sorted(row["test_accuracy"] for row in rows)
    assert scored.best_baseline("accuracy")[0] == "summary, logistic regression"
    page = " ".join((tmp_path / "scores.md").read_text().split())
    assert "`cellgate-train train vowels --hidden 8" in page
    assert f"Trained on {scored.processor}, with python {scored.versions['python']}, torch " in page
    assert "| nearest by DTW | 0.9486 |" in page
    assert "**The best baseline is better than ours** by the median in: vowels: accuracy." in page
    assert "243 sequences for training, 27 for validation, 370 for the test." in page
    assert (tmp_path / "scores.png").stat().st_size > 1000


def test_a_run_on_a_users_table_is_skipped(tmp_path: Path) -> None:
    """It once failed with an import of a data set of the table's name."""
    table = tmp_path / "two.csv"
    table.write_text("x,y\n" + "".join(f"{row % 5},{row % 7}\n" for row in range(100)))
    words = ("--target", "y", "--hidden", "4", "--epochs", "1", "--seeds", "2")
    call("train", "--data", table, *words, "--out", tmp_path / "runs" / "two")
    with pytest.raises(ScoresError, match="no finished runs"):
        scores.collect(tmp_path / "runs")


def test_the_error_for_a_folder_without_runs_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(
        ScoresError, match="no finished runs; create some with `cellgate-train train DATA --seeds 5`"
    ):
        scores.collect(tmp_path)
    with pytest.raises(ScoresError, match=r"scores\.json"):
        read(tmp_path / "scores.json")


def test_the_page_says_how_far_another_processor_moves_the_scores(
    trained: tuple[Path, Table], tmp_path: Path
) -> None:
    folder, _ = trained
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for row, path in enumerate(sorted(other.glob("vowels/seed-*/metrics.json"))):
        metrics = json.loads(path.read_text())
        path.write_text(json.dumps(metrics | {"test_accuracy": 0.5 + 0.1 * row}))
        (path.parent / "environment.json").write_text('{"processor": "Other 9, AVX2", "versions": {}}')
    call("scores", folder, "--out", tmp_path, "--elsewhere", f"old laptop={other}")
    [scored] = read(tmp_path / "scores.json").sets
    assert scored.processor, "new runs record theirs"
    assert [(one.where, one.processor) for one in scored.elsewhere] == [("old laptop", "Other 9, AVX2")]
    assert [seed["accuracy"] for seed in scored.elsewhere[0].seeds] == pytest.approx([0.5, 0.6])
    page = " ".join((tmp_path / "scores.md").read_text().split())
    assert "## Another processor" in page and "old laptop: Other 9, AVX2." in page
    call("scores", folder, "--out", tmp_path)
    assert read(tmp_path / "scores.json").sets == [scored], "the other scores stay"
    config = json.loads((other / "vowels" / "seed-0" / "config.json").read_text())
    config["recipe"]["hidden"] = 9
    for path in other.glob("vowels/seed-*/config.json"):
        path.write_text(json.dumps(config))
    result = CliRunner().invoke(
        main, ["scores", str(folder), "--out", str(tmp_path), "--elsewhere", f"x={other}"]
    )
    assert result.exit_code == 1 and "not of 'cellgate-train train vowels --hidden 8" in result.output
    assert CliRunner().invoke(main, ["scores", str(folder), "--elsewhere", "nameless"]).exit_code == 2


def test_the_deviations_are_those_between_processors_and_between_seeds() -> None:
    row = Row("a", "accuracy", here=[1.0, 3.0], elsewhere={"b": [2.0, 4.0], "c": [3.0, 5.0]})
    assert row.deviations() == pytest.approx((1, math.sqrt(2)))
    assert row.largest == pytest.approx(2)
