"""`cellgate-train scores`."""

from pathlib import Path

import click

from training.commands.errors import reported_errors


@click.command()
@click.argument("runs", type=click.Path(path_type=Path, exists=True, file_okay=False), default="runs")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The folder of scores.md, scores.png and scores.json.  [default: RUNS]",
)
@click.option("--again", is_flag=True, help="Write the page from the existing scores.json; read no runs.")
@click.option("--only", is_flag=True, help="Drop the scores of data sets without runs in RUNS.")
@click.option(
    "--keep",
    is_flag=True,
    help="Keep data sets without runs in RUNS as they are, without measuring their baselines again.",
)
@click.option(
    "--elsewhere",
    "others",
    multiple=True,
    metavar="NAME=RUNS",
    help="A folder with the same runs on another processor: the page says how far it moves the scores.",
)
def scores(
    runs: Path, out: Path | None, again: bool, only: bool, keep: bool, others: tuple[str, ...]
) -> None:
    """Collect the seeds of every data set in RUNS, and write them beside baselines and published scores.

    Data sets without runs in RUNS keep their scores in scores.json; their baselines, published scores and
    descriptions are renewed.

    \b
    cellgate-train train vowels --seeds 5 --out runs/vowels
    cellgate-train train air --seeds 5 --out runs/air
    cellgate-train scores runs
    cellgate-train scores new-runs --out docs
    cellgate-train scores runs --elsewhere laptop=laptop-runs
    """
    if again and (only or keep or others):
        raise click.UsageError("--again reads no runs, so --only, --keep and --elsewhere have no effect")
    if only and keep:
        raise click.UsageError("--only drops what --keep keeps")
    if wrong := [one for one in others if "=" not in one]:
        raise click.UsageError(f"--elsewhere {wrong[0]}: expected NAME=RUNS")
    out = out or runs
    with reported_errors():
        from training import scored, scores_page
        from training import scores as collected
        from training.figures import draw_scores

        path = out / "scores.json"
        if again:
            result = scored.read(path)
        else:
            keeps = path.exists() and not only
            folders = {name: Path(folder) for name, _, folder in (one.partition("=") for one in others)}
            result = collected.collect(
                runs, earlier=scored.read(path) if keeps else None, renews=not keep, others=folders
            )
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(result.model_dump_json(indent=1) + "\n")
        (out / "scores.md").write_text(scores_page.write(result))
        draw_scores(scores_page.shares(result), path=out / "scores.png")
        click.echo(f"{out}: scores.json, scores.md, scores.png; {len(result.sets)} data sets")
