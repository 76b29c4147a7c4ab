"""`cellgate-train compress`."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from training.commands.errors import reported_errors
from training.commands.export import parity_option
from training.commands.run_folder import finished_run

if TYPE_CHECKING:
    from training.compress import Report

OWN_MODELS = Path("my-models")  # not models/, which is committed
Share = click.FloatRange(0, 1, max_open=True)


@click.command()
@click.argument("name", metavar="RUN")
@click.option("--prune", type=Share, default=0.0, help="Share of all weights to set to zero.")
@click.option("--units", type=Share, default=0.0, help="Share of hidden units to remove.")
@click.option(
    "--quantize",
    "bits",
    type=click.Choice(["none", "fp16", "int8"]),
    default="none",
    help="Number format of the stored weights.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Epochs of training after pruning.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0),
    default=0.01,
    show_default=True,
    help="Write nothing if validation accuracy falls by more, or an error grows by a larger share.",
)
@parity_option
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    help="The version folder.  [default: the next version of the exported model, or of my-models/DATA]",
)
@click.option(
    "--report",
    "out",
    type=click.Path(path_type=Path),
    help="The folder of the report.  [default: RUN/compressed/MODEL/VERSION]",
)
@click.option("--force", is_flag=True, help="Replace the version in the version folder.")
def compress(
    name: str,
    prune: float,
    units: float,
    bits: str,
    epochs: int,
    max_drop: float,
    parity: float,
    to: Path | None,
    out: Path | None,
    force: bool,
) -> None:
    """Compress the network of a RUN, and export it as a new version with a report.

    RUN is a run folder, or the name of one in runs/.

    \b
    cellgate-train compress vowels --quantize int8
    cellgate-train compress vowels --prune 0.5 --quantize fp16
    cellgate-train compress runs/vowels --units 0.5 --epochs 30 --to my-models/vowels/3
    """
    folder = finished_run(name)
    with reported_errors():
        from training import compress as compressor
        from training import run
        from training.export.run import exported_model
        from training.figures import draw_compressed

        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        done = run.read(folder)
        to = to or _next_version(exported_model(folder) or OWN_MODELS / done.data.name)
        plan = compressor.Plan(units, prune, bits, epochs, max_drop, parity)  # type: ignore[arg-type]
        options = f"--units {units:g} --prune {prune:g} --quantize {bits} --epochs {epochs}"
        options += f" --max-drop {max_drop:g}"  # what the result was held to
        options += f" --parity {parity:g}" if parity != 1 else ""
        trained = f"{run.command(done.config, is_public=True)} --out {folder}"
        command = f"{trained} && cellgate-train compress {folder} {options} --to {to}"
        report = compressor.compress(done, to, plan, command=command, force=force)
        out = out or folder / "compressed" / to.parent.name / to.name
        out.mkdir(parents=True, exist_ok=True)
        rows = _rows(report)
        (out / "report.json").write_text(json.dumps(asdict(report), indent=1) + "\n")
        (out / "report.md").write_text(_markdown(command, report, rows))
        draw_compressed(
            {name: (before, after) for name, before, after in rows},
            title=report.plan,
            path=out / "report.png",
        )
    table = Table("", "before", "after", "ratio", title=report.plan)
    for name, before, after in rows:
        table.add_row(name, f"{before:,.4g}", f"{after:,.4g}", f"{after / before:.3f}" if before else "")
    Console().print(table)
    click.echo(f"{to}: exported; {out}: report.md, report.json, report.png")


def _next_version(model: Path) -> Path:
    """The folder of the version after the highest."""
    versions = [int(path.name) for path in model.glob("*") if path.name.isdecimal()]
    return model / str(max(versions, default=0) + 1)


def _rows(report: "Report") -> list[tuple[str, float, float]]:
    before, after, measure = report.before, report.after, report.measure
    rows: list[tuple[str, float, float]] = [
        (f"{measure}, validation", before.validation[measure], after.validation[measure]),
        (f"{measure}, test", before.test[measure], after.test[measure]),
        ("weights", before.num_weights, after.num_weights),
        (
            "nonzero weights",
            before.num_weights - before.num_zero,
            after.num_weights - after.num_zero,
        ),
        ("model.onnx, kB", before.size / 1000, after.size / 1000),
        ("gzipped, kB", before.gzipped / 1000, after.gzipped / 1000),
    ]
    rows += [
        (f"{shape}, ms", before.milliseconds[shape], after.milliseconds[shape])
        for shape in before.milliseconds
    ]
    return rows


def _markdown(command: str, report: "Report", rows: list[tuple[str, float, float]]) -> str:
    lines = "".join(f"| {name} | {before:,.4g} | {after:,.4g} |\n" for name, before, after in rows)
    return f"""# {report.plan}

    {command}

| | before | after |
|---|---|---|
{lines}
ONNX Runtime on one thread. Times are medians of alternating rounds.
"""
