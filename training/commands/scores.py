"""`cellgate-train scores`."""

from pathlib import Path

import click

from training.commands.errors import errors


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
@click.option(
    "--keep",
    is_flag=True,
    help="Keep what scores.json has of data sets that have no runs in RUNS; only what needs no runs is made "
    "anew: baselines, published scores, words.",
)
def scores(runs: Path, out: Path, again: bool, keep: bool) -> None:
    """Gather the seeds of every data set in RUNS, and write them beside baselines and published scores.

    \b
    cellgate-train train vowels --seeds 5 --out runs/vowels
    cellgate-train train air --seeds 5 --out runs/air
    cellgate-train scores runs --out docs
    cellgate-train scores new-runs --out docs --keep
    """
    if again and keep:
        raise click.UsageError("--again reads no runs: it keeps everything")
    with errors():
        from training import scores as page
        from training.figures import draw_scores

        kept = out / "scores.json"
        before = page.read(kept) if again or keep else None
        found = before if again and before else page.collect(runs, kept=before)
        out.mkdir(parents=True, exist_ok=True)
        kept.write_text(found.model_dump_json(indent=1) + "\n")
        (out / "scores.md").write_text(page.write(found))
        draw_scores(page.shares(found), path=out / "scores.png")
        click.echo(f"{out}: scores.json, scores.md, scores.png; {len(found.sets)} data sets")
