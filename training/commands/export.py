"""`cellgate-train export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from training.commands.errors import reported_errors

if TYPE_CHECKING:
    from training.run import Run


parity_option = click.option(
    "--parity",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Accept differences from PyTorch up to this many times the usual limit; model.json records it.",
)
trace_option = click.option(
    "--trace",
    "shows_gates",
    is_flag=True,
    help="Add the gates of each layer as outputs, which the server computes only for requests that ask.",
)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--run", "run_folder", type=click.Path(path_type=Path), help="The finished run to export.")
@click.option("--random", "is_random", is_flag=True, help="Export an untrained network, for benchmarks.")
@click.option("--cell", default="lstm", show_default=True, help="--random: the recurrent cell.")
@click.option("--hidden", type=click.IntRange(1), default=128, show_default=True, help="--random: width.")
@click.option("--layers", type=click.IntRange(1), default=1, show_default=True, help="--random: layers.")
@click.option(
    "--projection",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="--random: width of h; 0: --hidden.",
)
@click.option("--features", type=click.IntRange(1), default=12, show_default=True, help="--random: inputs.")
@click.option("--classes", type=click.IntRange(1), default=9, show_default=True, help="--random: outputs.")
@click.option("--seed", default=0, show_default=True, help="--random: the seed of the weights.")
@click.option(
    "--portable",
    "is_portable",
    is_flag=True,
    help="Only standard operators, for other runtimes. By default some cells use those of ONNX Runtime.",
)
@trace_option
@parity_option
@click.option("--force", is_flag=True, help="Replace the version in DIR.")
def export(
    folder: Path,
    run_folder: Path | None,
    is_random: bool,
    is_portable: bool,
    shows_gates: bool,
    parity: float,
    force: bool,
    **size: Any,
) -> None:
    """Write DIR/model.onnx and DIR/model.json, checked against PyTorch.

    \b
    cellgate-train export my-models/vowels/2 --run runs/vowels
    cellgate-train export my-models/vowels/3 --run runs/vowels --trace
    cellgate-train export /tmp/models/big/1 --random --hidden 512 --layers 2
    """
    if is_random == (run_folder is not None):
        raise click.UsageError("give either --run or --random")
    with reported_errors():
        from training import export as exporter
        from training import run

        if run_folder:
            done = run.read(run_folder)
            export_and_report(
                done, folder, slack=parity, force=force, is_portable=is_portable, shows_gates=shows_gates
            )
            return
        network, data = exporter.random_network(**size)
        options = " ".join(f"--{option} {value}" for option, value in size.items())
        options += " --trace" if shows_gates else ""
        options += f" --parity {parity:g}" if parity != 1 else ""
        command = f"cellgate-train export DIR --random {options}"
        exporter.export(
            network,
            data,
            folder,
            metrics={},
            command=command,
            seed=size["seed"],
            slack=parity,
            force=force,
            is_portable=is_portable,
            shows_gates=shows_gates,
        )
        click.echo(f"{folder}: random weights")


def export_and_report(
    done: "Run",
    folder: Path,
    *,
    slack: float,
    force: bool,
    is_portable: bool = False,
    shows_gates: bool = False,
) -> None:
    """Export a finished run, and print how far ONNX Runtime is from PyTorch."""
    from training import loggers
    from training.export import parity
    from training.export.run import export_run

    manifest = export_run(
        done, folder, slack=slack, force=force, is_portable=is_portable, shows_gates=shows_gates
    )
    assert manifest.provenance is not None
    assert manifest.provenance.parity_check is not None
    loggers.add_model(folder, done.folder)
    click.echo(f"{folder}: exported; {parity.describe(manifest.provenance.parity_check)}")
