"""Options become a configuration or a table; errors of users are one line."""

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from training import run
from training.__main__ import main
from training.commands.compress import _next_version
from training.commands.errors import reported_errors
from training.commands.explain import _output_number
from training.commands.run_folder import finished_run
from training.commands.table import FIELDS, table_of
from training.commands.train import config_of
from training.config import METRICS_FILE, Config, Table
from training.data.table import fingerprint
from training.errors import TrainingError
from training.loop import Interrupted

OPTIONS: dict[str, Any] = {  # as click passes them if none is given
    "data": None, "test_share": 0.2, **dict.fromkeys(FIELDS), "targets": (), "horizons": (), "ignore": (),
    "categorical": (), "missing": (), "static": (), "quantiles": (), "calendar": (), "known": (),
}  # fmt: skip


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.parametrize(
    "command", ["train", "evaluate", "export", "sweep", "scores", "explain", "compress", "lag"]
)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0, result.output
    assert f"cellgate-train {command}" in result.output


def test_every_option_has_a_help_text() -> None:
    """`--accelerator` and `--split` list their values."""
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        for option in command.params:
            if isinstance(option, click.Option) and not isinstance(option.type, click.Choice):
                assert option.help, f"{name} {option.name}"


def test_the_default_recipe_is_the_first_of_the_data_set() -> None:
    config = config_of("vowels", None, {})
    assert (config.data, config.recipe.epochs, config.table) == ("vowels", 120, None)


def test_options_override_the_recipe_and_the_others_are_fields_of_the_configuration() -> None:
    options = {"hidden": 7, "dropout": None, "seed": 5, "devices": 2, "accelerator": "cpu", "threads": 3}
    config = config_of("vowels", "article", options)
    assert (config.recipe.hidden, config.recipe.dropout, config.recipe.epochs) == (7, 0.0, 10)
    assert (config.seed, config.devices, config.accelerator, config.threads) == (5, 2, "cpu", 3)


def test_a_table_has_its_own_recipe_and_the_name_of_its_file() -> None:
    table = Table(path="/some/where/rooms.csv", sha256="", targets=("y",))
    config = config_of("", None, {"seed": 1}, table)
    assert (config.data, config.recipe.hidden, config.table) == ("rooms", 64, table)


def test_an_unknown_recipe_and_an_invalid_value_name_their_option() -> None:
    with pytest.raises(click.BadParameter, match="the recipes of vowels are regularised, article"):
        config_of("vowels", "magic", {})
    with pytest.raises(click.BadParameter) as caught:
        config_of("vowels", None, {"layer_dropout": 1.5})
    assert caught.value.param_hint == "--layer-dropout"
    with pytest.raises(click.BadParameter) as caught:
        config_of("vowels", None, {"seed": -1})
    assert caught.value.param_hint == "--seed"


@pytest.mark.parametrize(("name", "data"), [(None, None), ("vowels", Path("t.csv"))])
def test_exactly_one_source_is_required(name: str | None, data: Path | None) -> None:
    with pytest.raises(click.UsageError, match="exactly one of them"):
        table_of(name, OPTIONS | {"data": data})


@pytest.mark.parametrize(
    ("field", "value", "flag"),
    [
        ("targets", ("y",), "--target"),
        ("id_column", "i", "--id-column"),
        ("time_column", "t", "--time-column"),
        ("time_format", "%d/%m/%Y", "--time-format"),
        ("time_zone", "UTC", "--time-zone"),
        ("missing", ("-",), "--missing"),
        ("duplicates", "drop", "--duplicates"),
        ("task", "label", "--task"),
        ("horizons", (2,), "--horizon"),
        ("ignore", ("z",), "--ignore"),
        ("categorical", ("k",), "--categorical"),
        ("season", 0, "--season"),
        ("split_by", "time", "--split-by"),
        ("split_column", "part", "--split-column"),
        ("group_column", "g", "--group-column"),
        ("test_from", "2016-01-01", "--test-from"),
        ("test_data", Path("t.csv"), "--test-data"),
    ],
)
def test_options_of_a_table_require_a_table(field: str, value: Any, flag: str) -> None:
    with pytest.raises(click.UsageError, match=f"{flag} requires --data"):
        table_of("vowels", OPTIONS | {field: value})


def test_options_of_a_table_are_removed_from_the_others() -> None:
    options = OPTIONS | {"seed": 3}
    assert table_of("vowels", options) == (None, None)
    assert options == {"seed": 3}


def test_a_table_is_fingerprinted_and_its_horizons_are_sorted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("y,name\n" + "".join(f"{n % 7},n{n}\n" for n in range(60)))
    table, data = table_of(None, OPTIONS | {"data": path, "targets": ("y",), "horizons": (3, 1, 3)})
    assert table is not None and data is not None
    assert data.labels == ("y",)
    assert (table.horizons, table.sha256, table.test) == ((1, 3), fingerprint(path), 0.2)
    shown = capsys.readouterr().out
    assert "target, number" in shown
    assert "note: column 'name': nearly every row has a different text" in shown
    assert (
        "task forecast: 1 sequences of 36 to 36 steps for training, 1 sequences of 12 to 12 steps for"
        in shown
    )


def test_a_folder_with_metrics_is_a_finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "here", tmp_path / "runs" / "mine"):
        folder.mkdir(parents=True)
        (folder / METRICS_FILE).write_text("{}")
    assert finished_run("here") == Path("here")
    assert finished_run("mine") == Path("runs/mine")
    assert finished_run(str(tmp_path / "runs" / "mine")) == tmp_path / "runs" / "mine"
    (tmp_path / "mine").mkdir()
    with pytest.raises(click.ClickException, match="mine holds no finished run"):
        finished_run("mine")


@pytest.mark.parametrize("error", [TrainingError("the message"), FileExistsError("the message")])
def test_an_error_of_the_user_is_one_line(error: Exception) -> None:
    with pytest.raises(click.ClickException) as caught, reported_errors():
        raise error
    assert caught.value.message == "the message"
    assert caught.value.__cause__ is error


def test_an_interruption_exits_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, reported_errors():
        raise Interrupted
    assert caught.value.code == 130
    assert "the same command resumes after the last finished epoch" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), reported_errors():
        raise ZeroDivisionError


@pytest.mark.parametrize(("target", "number"), [(None, None), ("up", 0), ("down", 1), ("7", 7)])
def test_a_target_is_a_name_or_a_number(target: str | None, number: int | None) -> None:
    assert _output_number(target, ("up", "down")) == number


def test_a_name_wins_over_a_number_and_an_unknown_one_is_refused() -> None:
    assert _output_number("1", ("5", "9", "1")) == 2
    with pytest.raises(click.BadParameter, match="'left' is none of up, down"):
        _output_number("left", ("up", "down"))


@pytest.mark.parametrize(
    ("versions", "expected"), [([], "1"), (["1"], "2"), (["1", "10", "9"], "11"), (["draft", "3"], "4")]
)
def test_the_next_version_is_after_the_highest(versions: list[str], expected: str, tmp_path: Path) -> None:
    for version in versions:
        (tmp_path / "m" / version).mkdir(parents=True)
    assert _next_version(tmp_path / "m") == tmp_path / "m" / expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "vowels"), "vowels is a data set: add --url with a server, or name a run folder"),
        (("evaluate", "vowels", "--model", "m"), "--model and --version require --url"),
        (("evaluate", "vowels", "--version", "1"), "--model and --version require --url"),
        (("explain", "nowhere"), "give either SEQUENCE or --test"),
        (("explain", "nowhere", "x.json", "--test", "1"), "give either SEQUENCE or --test"),
        (("export", "d"), "give either --run or --random"),
        (("export", "d", "--random", "--run", "r"), "give either --run or --random"),
        (("scores", ".", "--again", "--only"), "--only, --keep and --elsewhere have no effect"),
        (("sweep", "vowels"), "nothing to try; for example: --try hidden=32,64,128"),
        (("train", "vowels", "--trace"), "--trace requires --export"),
        (("export", "d", "--random", "--cell", "rnn", "--trace"), "RNN has no gates that a graph can show"),
        (("train", "vowels", "--seeds", "2", "--devices", "2"), "--seeds cannot be combined with"),
        (("train", "vowels", "--from", "nowhere"), "runs/nowhere holds no finished run"),
        (("train", "vowels", "--warm-up", "200"), "expected at most the number of epochs, 120"),
        (("compress", "nowhere"), "runs/nowhere holds no finished run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_impossible_combinations_are_refused(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*words)
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert "Traceback" not in result.output


def test_the_command_of_a_configuration_gives_it_again() -> None:
    """`run.command` and `config_of` are inverse."""
    recipe = config_of("vowels", None, {"hidden": 9, "cell": "gru", "noise": 0.25}).recipe
    config = Config(data="vowels", recipe=recipe, seed=4, threads=2)
    words = run.command(config).split()
    assert words[:3] == ["cellgate-train", "train", "vowels"]
    pairs = dict(zip(words[3::2], words[4::2], strict=True))
    assert pairs == {"--hidden": "9", "--cell": "gru", "--noise": "0.25", "--seed": "4", "--threads": "2"}
