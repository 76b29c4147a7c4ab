"""`cellgate-train train`."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from pydantic import ValidationError

from training import data
from training.commands.errors import reported_errors
from training.commands.export import export_and_report, parity_option, trace_option
from training.commands.results import show_runs, show_skill
from training.commands.run_folder import finished_run
from training.commands.table import table_of, table_options
from training.config import Config, LoggerName, PrecisionName, Recipe, Table
from training.data.table import RECIPES

if TYPE_CHECKING:
    from training.data.dataset import DataSet
    from training.run import Run

Command = Callable[..., None]


def _recipe_options(command: Command) -> Command:
    """One option for each field of the recipe; the default is the recipe's. A switch may omit "true"."""
    for name, field in reversed(Recipe.model_fields.items()):
        kind = type(field.default)
        flag = f"--{name.replace('_', '-')}"
        is_flag: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if kind is bool else {}
        command = click.option(flag, type=kind, default=None, help=field.description, **is_flag)(command)
    return command


@click.command()
@click.argument("name", metavar="DATA", type=click.Choice(data.names()), required=False)
@table_options
@click.option(
    "--recipe", "recipe_name", default=None, help="A recipe of the data set; the options below override it."
)
@_recipe_options
@click.option(
    "--seed", default=0, show_default=True, help="Seed of weights, split, order, dropout and noise."
)
@click.option(
    "--seeds", type=click.IntRange(2), help="Train this many seeds, and write a table of their scores."
)
@click.option(
    "--folds",
    type=click.IntRange(2),
    help="--data: cross-validate by this many folds, and write a table of their scores.",
)
@click.option("--accelerator", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option(
    "--devices", default=1, show_default=True, help="Number of processes, one per device, that train by DDP."
)
@click.option("--threads", default=1, show_default=True, help="Threads of each process.")
@click.option(
    "--precision",
    default="32-true",
    show_default=True,
    type=click.Choice(get_args(PrecisionName)),
    help="Of the products in training; weights, evaluation and export are float32 in each case.",
)
@click.option(
    "--compile",
    type=bool,
    is_flag=False,
    flag_value="true",
    default=False,
    help="Train with torch.compile; needs a C++ compiler, or on a GPU Triton.",
)
@click.option(
    "--from",
    "start",
    metavar="RUN",
    help="Start with the weights of this finished run, by its folder or its name in runs/.",
)
@click.option("--out", type=click.Path(path_type=Path), help="The run folder.  [default: runs/DATA]")
@click.option(
    "--logger",
    type=click.Choice(get_args(LoggerName)),
    help="Also log every epoch for this tracker, into the run folder; needs the extra of the same name.",
)
@click.option(
    "--export",
    "export_to",
    type=click.Path(path_type=Path),
    help="Export the trained network into this folder.",
)
@trace_option
@parity_option
@click.option("--force", is_flag=True, help="Replace a finished run, and the version in the export folder.")
def train(
    name: str | None,
    recipe_name: str | None,
    start: str | None,
    seeds: int | None,
    folds: int | None,
    out: Path | None,
    logger: LoggerName | None,
    export_to: Path | None,
    shows_gates: bool,
    parity: float,
    force: bool,
    **options: Any,
) -> None:
    """Train on DATA, or on a table of your own.

    After Ctrl-C, the same command resumes after the last finished epoch.

    \b
    cellgate-train train vowels
    cellgate-train train vowels --recipe article --out runs/article
    cellgate-train train vowels --seeds 5 --out runs/five
    cellgate-train train vowels --devices 2 --accelerator cpu
    cellgate-train train vowels --export my-models/vowels/1
    cellgate-train train vowels --from runs/vowels --learning-rate 1e-4 --out runs/finer
    cellgate-train train --data my.csv --id-column patient --time-column day --target outcome
    """
    if shows_gates and export_to is None:
        raise click.UsageError("--trace requires --export")
    source = finished_run(start) if start else None
    with reported_errors():
        table, loaded = table_of(name, options)
    config = config_of(name or "", recipe_name, options, table)
    folder = out or Path("runs") / config.data
    _check_table_of_runs(config, seeds=seeds, folds=folds, export_to=export_to, source=source)
    with reported_errors():
        from training import warm_start

        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        if source:
            config = config.model_copy(update={"warm_start": warm_start.source(source)})
        if seeds or folds:
            _train_several(config, folder, loaded, seeds=seeds, folds=folds, force=force, logger=logger)
        else:
            done = _train_one(config, folder, loaded, export_to=export_to, force=force, logger=logger)
            if done is not None:  # else a helper process of DDP
                _report(done, export_to, parity=parity, force=force, shows_gates=shows_gates)


def _check_table_of_runs(
    config: Config, *, seeds: int | None, folds: int | None, export_to: Path | None, source: Path | None
) -> None:
    """Raise UsageError for options that several runs cannot have."""
    if (seeds or folds) and (export_to or config.devices > 1 or (seeds and folds)):
        flag, other = ("--seeds", "--folds, ") if seeds else ("--folds", "")
        raise click.UsageError(f"{flag} cannot be combined with {other}--export or --devices")
    if folds and config.table is None:
        raise click.UsageError("--folds requires --data: a data set has its own split")
    if folds and source:
        raise click.UsageError(
            "--folds cannot be combined with --from: that run has learnt test parts of the folds"
        )


def _train_several(
    config: Config,
    folder: Path,
    loaded: "DataSet | None",
    *,
    seeds: int | None,
    folds: int | None,
    force: bool,
    logger: LoggerName | None,
) -> None:
    """Train several seeds, or all folds, and print their table."""
    from training import folds as fold_table
    from training import seeds as seed_table

    if seeds:
        rows = seed_table.train_seeds(config, folder, count=seeds, force=force, loaded=loaded, logger=logger)
        show_runs(rows, {"median": {name: seed_table.median_of(rows, name) for name in rows[0]}})
    elif folds:
        rows = fold_table.train_folds(config, folder, count=folds, force=force, logger=logger)
        show_runs(rows, fold_table.summary(rows))
        click.echo(fold_table.verdict(rows))


def _train_one(
    config: Config,
    folder: Path,
    loaded: "DataSet | None",
    *,
    export_to: Path | None,
    force: bool,
    logger: LoggerName | None,
) -> "Run | None":
    """Train one run, unless it is finished. Raises FileExistsError before the training."""
    from training import run

    was_finished = run.is_finished(folder) and not force
    if export_to and export_to.exists() and not (force or was_finished):
        raise FileExistsError(f"{export_to} exists; --force replaces it")
    done = run.train(config, folder, force=force, loaded=loaded, logger=logger)
    if was_finished:
        click.echo(f"{folder} is finished; --force trains it again")
    return done


def _report(done: "Run", export_to: Path | None, *, parity: float, force: bool, shows_gates: bool) -> None:
    """Print the scores of a run, export it if that is wished, and print the next commands."""
    from training import warm_start
    from training.calibration import describe
    from training.tasks import of

    click.echo(
        f"{done.folder}: epoch {done.metrics['kept_epoch']} of {done.metrics['epochs']} kept, "
        f"{of(done.data).summary(done.metrics)}, {done.metrics['seconds']:.0f} s"
    )
    if origin := warm_start.origin(done.config, done.data):
        click.echo(origin)
    if export_to:
        export_and_report(done, export_to, slack=parity, force=force, shows_gates=shows_gates)
    compared = done.skill()
    show_skill(compared)
    for line in describe(done.metrics):
        click.echo(line)
    _show_next(done, export_to)
    click.echo(f"on the test part: {compared.verdict()}")


def config_of(
    name: str, recipe_name: str | None, options: dict[str, Any], table: Table | None = None
) -> Config:
    """A recipe of a data set, overridden by `options`; the other options are fields of the configuration."""
    recipes = RECIPES if table else data.recipes(name)
    name = Path(table.path).stem if table else name
    recipe_name = recipe_name or next(iter(recipes))
    if recipe_name not in recipes:
        raise click.BadParameter(f"the recipes of {name} are {', '.join(recipes)}", param_hint="--recipe")
    changed = {field: options.pop(field, None) for field in Recipe.model_fields}
    changed = {field: value for field, value in changed.items() if value is not None}
    try:
        recipe = Recipe.model_validate(recipes[recipe_name].model_dump() | changed)
        return Config(data=name, recipe=recipe, table=table, **options)
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        raise click.BadParameter(first["msg"], param_hint=flag) from error


def _show_next(done: "Run", exported: Path | None) -> None:
    """Print where the pictures are, and the next command."""
    pictures = sorted(path.name for path in done.folder.glob("*.png"))
    click.echo(f"pictures and scores: {done.folder}/README.md, {', '.join(pictures)}")
    if exported is None:
        folder = Path("my-models", done.config.data, "1")
        click.echo(f"to export it: cellgate-train export {folder} --run {done.folder}")
        exported = folder
    click.echo(f"to serve it: cellgate serve --models-dir {exported.parent.parent}")
