"""`cellgate-train scores`."""

from pathlib import Path

import click

from training.commands.common import errors


@click.command()
@click.argument("runs", type=click.Path(path_type=Path, exists=True, file_okay=False), default="runs")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="docs",
    show_default=True,
    help="Where scores.md, scores.png and scores.json go.",
)
@click.option(
    "--again", is_flag=True, help="Write the page from the scores.json that is there; read no runs."
)
def scores(runs: Path, out: Path, again: bool) -> None:
    """Gather the seeds of every data set in RUNS, and write them beside baselines and published scores.

    \b
    cellgate-train train vowels --seeds 5 --out runs/vowels
    cellgate-train train air --seeds 5 --out runs/air
    cellgate-train scores runs --out docs
    """
    with errors():
        from training import scores as page
        from training.figures import draw_scores

        kept = out / "scores.json"
        found = page.read(kept) if again else page.collect(runs)
        out.mkdir(parents=True, exist_ok=True)
        kept.write_text(found.model_dump_json(indent=1) + "\n")
        (out / "scores.md").write_text(page.write(found))
        draw_scores(page.shares(found), path=out / "scores.png")
        click.echo(f"{out}: scores.json, scores.md, scores.png; {len(found.sets)} data sets")
