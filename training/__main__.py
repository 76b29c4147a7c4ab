"""The command line `cellgate-train`, also `python -m training`.

Torch takes seconds to import, so each command imports what it needs when it runs: `--help` answers at once.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from training import data
from training.config import Config, Recipe
from training.data.fetch import FetchError

if TYPE_CHECKING:
    from training.run import Run

Command = Callable[..., None]


def _recipe_options(command: Command) -> Command:
    """One option for each field of the recipe; the default is the recipe's."""
    for name, field in reversed(Recipe.model_fields.items()):
        kind = type(field.default)
        flag = f"--{name.replace('_', '-')}"
        command = click.option(flag, type=kind, default=None, help=field.description)(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="cellgate")
def main() -> None:
    """Train recurrent networks, measure them, and export them for `cellgate serve`.

    \b
    cellgate-train train vowels --export models/vowels/2
    cellgate-train evaluate runs/vowels
    cellgate-train export models/vowels/3 --run runs/vowels
    """


@main.command()
@click.argument("name", metavar="DATA", type=click.Choice(data.names()))
@click.option(
    "--recipe", "recipe_name", default=None, help="A recipe of the data set; the options below change it."
)
@_recipe_options
@click.option(
    "--seed", default=0, show_default=True, help="Decides weights, split, order, dropout and noise."
)
@click.option("--seeds", type=click.IntRange(2), help="Train so many seeds, and write a table of them.")
@click.option("--accelerator", default="auto", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]))
@click.option("--devices", default=1, show_default=True, help="Processes, one per device; they train by DDP.")
@click.option("--threads", default=1, show_default=True, help="Threads of each process.")
@click.option("--out", type=click.Path(path_type=Path), help="The run folder.  [default: runs/DATA]")
@click.option("--export", "export_to", type=click.Path(path_type=Path), help="Also export into this folder.")
@click.option("--force", is_flag=True, help="Replace a finished run, and what lies in the export folder.")
def train(
    name: str,
    recipe_name: str | None,
    seeds: int | None,
    out: Path | None,
    export_to: Path | None,
    force: bool,
    **options: Any,
) -> None:
    """Train on DATA. After Ctrl-C, the same command goes on from the last finished epoch.

    \b
    cellgate-train train vowels
    cellgate-train train vowels --recipe article --out runs/article
    cellgate-train train vowels --seeds 5 --out runs/five
    cellgate-train train vowels --devices 2 --accelerator cpu
    cellgate-train train vowels --export models/vowels/1 --force
    """
    config = _config(name, recipe_name, options)
    folder = out or Path("runs") / name
    if seeds and (export_to or config.devices > 1):
        raise click.UsageError("--seeds goes with neither --export nor --devices")
    with _errors():
        from training import run
        from training import seeds as several
        from training.tasks import of

        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        if seeds:
            _show_seeds(several.train_seeds(config, folder, count=seeds, force=force))
            return
        done = run.train(config, folder, force=force)
        if done is None:  # a helper process of DDP
            return
        click.echo(
            f"{folder}: epoch {done.metrics['kept_epoch']} of {done.metrics['epochs']} kept, "
            f"{of(done.data).summary(done.metrics)}, {done.metrics['seconds']:.0f} s"
        )
        if export_to:
            _export_run(done, export_to, force=force)


@main.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True)
def evaluate(folder: Path, split: str) -> None:
    """Measure the network of a finished RUN folder.

    \b
    cellgate-train evaluate runs/vowels
    cellgate-train evaluate runs/vowels --split train
    """
    with _errors():
        from training import run
        from training.evaluate import evaluate as measure

        done = run.read(folder)
        part = done.data.test if split == "test" else done.data.train
        scores = measure(done.network, done.data, part)
    if scores.confusion is not None:
        table = Table("class", "answers", "right", "recall", title=f"{done.data.title}, {split} part")
        rights = scores.confusion.diagonal()
        for label, row, hits in zip(done.data.labels, scores.confusion, rights, strict=True):
            table.add_row(label, str(row.sum()), str(hits), f"{hits / max(row.sum(), 1):.4f}")
        Console().print(table)
    click.echo("  ".join(f"{name} {value:.4f}" for name, value in scores.metrics.items()))


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--run", "run_folder", type=click.Path(path_type=Path), help="The finished run to export.")
@click.option(
    "--random", "is_random", is_flag=True, help="Export an untrained network instead, for benchmarks."
)
@click.option("--cell", default="lstm", show_default=True, help="--random: the recurrent cell.")
@click.option("--hidden", type=click.IntRange(1), default=128, show_default=True, help="--random: width.")
@click.option("--layers", type=click.IntRange(1), default=1, show_default=True, help="--random: layers.")
@click.option("--projection", type=click.IntRange(0), default=0, show_default=True, help="--random: of h.")
@click.option("--features", type=click.IntRange(1), default=12, show_default=True, help="--random: inputs.")
@click.option("--classes", type=click.IntRange(1), default=9, show_default=True, help="--random: outputs.")
@click.option("--seed", default=0, show_default=True, help="--random: decides the weights.")
@click.option("--force", is_flag=True, help="Replace what lies in DIR.")
def export(folder: Path, run_folder: Path | None, is_random: bool, force: bool, **size: Any) -> None:
    """Write DIR/model.onnx and DIR/model.json, checked against PyTorch.

    \b
    cellgate-train export models/vowels/2 --run runs/vowels
    cellgate-train export /tmp/models/big/1 --random --hidden 512 --layers 2
    """
    if is_random == (run_folder is not None):
        raise click.UsageError("give either --run or --random")
    with _errors():
        from training import export as exporter
        from training import run

        if run_folder:
            _export_run(run.read(run_folder), folder, force=force)
            return
        network, made_up = exporter.random_network(**size)
        words = " ".join(f"--{option} {value}" for option, value in size.items())
        told = f"cellgate-train export DIR --random {words}"
        exporter.export(network, made_up, folder, metrics={}, command=told, seed=size["seed"], force=force)
        click.echo(f"{folder}: random weights")


def _config(name: str, recipe_name: str | None, options: dict[str, Any]) -> Config:
    recipes = data.recipes(name)
    recipe_name = recipe_name or next(iter(recipes))
    if recipe_name not in recipes:
        raise click.BadParameter(f"{name} has the recipes {', '.join(recipes)}", param_hint="--recipe")
    changed = {field: options.pop(field) for field in Recipe.model_fields}
    changed = {field: value for field, value in changed.items() if value is not None}
    try:
        recipe = Recipe.model_validate(recipes[recipe_name].model_dump() | changed)
        return Config(data=name, recipe=recipe, **options)
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        raise click.BadParameter(first["msg"], param_hint=flag) from error


def _export_run(done: "Run", folder: Path, *, force: bool) -> None:
    from training import export as exporter
    from training import run

    told = f"{run.command(done.config)} --export {folder}"
    manifest = exporter.export(
        done.network,
        done.data,
        folder,
        metrics=done.test_metrics(),
        command=told,
        seed=done.config.seed,
        force=force,
    )
    assert manifest.provenance is not None
    worst = max(manifest.provenance.parity.values())
    click.echo(f"{folder}: exported; PyTorch and ONNX Runtime differ by at most {worst:.2g}")


def _show_seeds(rows: list[dict[str, float]]) -> None:
    from training.seeds import median_of

    table = Table(*(name.replace("_", " ") for name in rows[0]))
    for row in rows:
        table.add_row(*(f"{value:.4g}" for value in row.values()))
    table.add_section()
    table.add_row("median", *(f"{median_of(rows, name):.4g}" for name in list(rows[0])[1:]))
    Console().print(table)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what a user can cause into one line; anything else is a bug and keeps its traceback."""
    from training.cells import CellError
    from training.export import ParityError
    from training.loop import Interrupted
    from training.run import RunError

    try:
        yield
    except Interrupted:
        click.echo("interrupted; the same command goes on from the last finished epoch", err=True)
        raise SystemExit(130) from None
    except (RunError, FetchError, FileExistsError, ParityError, CellError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
