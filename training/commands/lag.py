"""`cellgate-train lag`."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import track

from training.commands.errors import reported_errors
from training.commands.run_folder import check_writable

if TYPE_CHECKING:
    from training.lag import Adding, Lags


@click.command()
@click.option(
    "--page",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Replace the marked section of this page, and write the pictures and lag.json beside it.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="runs/lag",
    show_default=True,
    help="Without --page: the folder of lag.md, lag.json and the pictures.",
)
@click.option(
    "--cell",
    "only",
    multiple=True,
    help="Only this cell; lag.json keeps the results of the others, which need the same settings.",
)
@click.option("--length", "lengths", type=click.IntRange(2), multiple=True, help="[default: 25 50 100 200]")
@click.option(
    "--updates", type=click.IntRange(1), default=2000, show_default=True, help="Most updates for each length."
)
@click.option(
    "--steps",
    type=click.IntRange(2),
    default=200,
    show_default=True,
    help="Longest lag of the gradients.",
)
@click.option("--hidden", type=click.IntRange(1), default=64, show_default=True, help="Units of a layer.")
def lag(
    page: Path | None,
    out: Path,
    only: tuple[str, ...],
    lengths: tuple[int, ...],
    updates: int,
    steps: int,
    hidden: int,
) -> None:
    """Measure how far back each cell can learn from: its gradient by lag, and the adding problem.

    \b
    cellgate-train lag
    cellgate-train lag --length 25 --length 50 --updates 500 --out runs/lag-short
    cellgate-train lag --cell min_gru --updates 3000 --page docs/lstm.md
    """
    folder = page.parent if page else out
    with reported_errors():
        import torch

        from training import lag as lags

        torch.set_num_threads(1)
        if page:
            lags.check_page(page)
        if unknown := sorted(set(only) - set(lags.CELLS)):
            raise lags.LagError(f"--cell {unknown[0]}: expected one of {', '.join(lags.CELLS)}")
        check_writable(folder)
        others = lags.read_others(
            folder / "lag.json", only or lags.CELLS, updates=updates, steps=steps, hidden=hidden
        )
        result = lags.measure(
            tuple(sorted(set(lengths))) or (25, 50, 100, 200),
            updates=updates,
            steps=steps,
            hidden=hidden,
            only=only or lags.CELLS,
            track=_show_progress,
        )
        if others:
            result = lags.joined(others, result)
        if page:
            lags.write_page(page, result)
        else:
            (folder / "lag.md").write_text(lags.write(result))
        (folder / "lag.json").write_text(result.model_dump_json(indent=1) + "\n")
        _draw(result, folder)
    click.echo(f"{page or folder / 'lag.md'}: the tables; {folder}: lag.json, lag.png, adding.png")


def _draw(lags: "Lags", folder: Path) -> None:
    """Write lag.png and adding.png."""
    from training import lag
    from training.figures import draw_adding, draw_lags

    untrained = {lag.name_of(one): one.norms for one in lags.gradients}
    solved = [lag.longest_solved(lags.adding, cell) for cell in lags.cells]
    trained = {
        f"{one.cell}, {one.length} steps{'' if one.is_solved else ', not solved'}": one.norms
        for one in solved
    }
    draw_lags({"untrained": untrained, "after the adding problem": trained}, path=folder / "lag.png")
    by_cell = {
        cell: {one.length: one.error for one in lags.adding if one.cell == cell} for cell in lags.cells
    }
    draw_adding(by_cell, chance=lag.CHANCE, solved=lag.SOLVED, path=folder / "adding.png")


def _show_progress(rows: "Iterable[Adding]", count: int) -> "Iterable[Adding]":
    """Show a bar on a terminal, plain lines elsewhere."""
    is_terminal = sys.stdout.isatty()
    for trained in track(rows, "adding problem", total=count, disable=not is_terminal):
        if not is_terminal:
            error = f"error {trained.error:.4f} after {trained.updates} updates"
            click.echo(f"{trained.cell}  {trained.length} steps  {error}")
        yield trained
