"""`cellgate-train scores`."""

from pathlib import Path

import click

from training.commands.errors import reported_errors


@click.command()
@click.argument("runs", type=click.Path(path_type=Path, exists=True, file_okay=False), default="runs")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="docs",
    show_default=True,
    help="The folder of scores.md, scores.png and scores.json.",
)
@click.option("--again", is_flag=True, help="Write the page from the existing scores.json; read no runs.")
@click.option(
    "--keep",
    is_flag=True,
    help="Keep the scores of data sets without runs in RUNS, and renew their baselines, published scores and "
    "descriptions.",
)
def scores(runs: Path, out: Path, again: bool, keep: bool) -> None:
    """Collect the seeds of every data set in RUNS, and write them beside baselines and published scores.

    \b
    cellgate-train train vowels --seeds 5 --out runs/vowels
    cellgate-train train air --seeds 5 --out runs/air
    cellgate-train scores runs --out docs
    cellgate-train scores new-runs --out docs --keep
    """
    if again and keep:
        raise click.UsageError("--again reads no runs, so --keep has no effect")
    with reported_errors():
        from training import scores as page
        from training.figures import draw_scores

        path = out / "scores.json"
        before = page.read(path) if again or keep else None
        result = before if again and before else page.collect(runs, earlier=before)
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(result.model_dump_json(indent=1) + "\n")
        (out / "scores.md").write_text(page.write(result))
        draw_scores(page.shares(result), path=out / "scores.png")
        click.echo(f"{out}: scores.json, scores.md, scores.png; {len(result.sets)} data sets")
