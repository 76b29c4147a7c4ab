"""`cellgate-train export`."""

from pathlib import Path
from typing import Any

import click

from training.commands.errors import errors, export_run


@click.command()
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
    with errors():
        from training import export as exporter
        from training import run

        if run_folder:
            export_run(run.read(run_folder), folder, force=force)
            return
        network, made_up = exporter.random_network(**size)
        words = " ".join(f"--{option} {value}" for option, value in size.items())
        told = f"cellgate-train export DIR --random {words}"
        exporter.export(network, made_up, folder, metrics={}, command=told, seed=size["seed"], force=force)
        click.echo(f"{folder}: random weights")
