"""The long run: python -m tests.faults --histories 5000 --seed 7."""

import click

from tests.faults.histories import Violation
from tests.faults.run import KINDS, Tally, run, seed_of_now


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--histories", default=2000, show_default=True, help="Of each kind.")
@click.option("--seed", type=int, help="The same seed asks for the same.  [default: by the clock]")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), default=KINDS, show_default=True)
@click.option("--rate", default=0.2, show_default=True, help="Of requests that meet with a mishap.")
def main(histories: int, seed: int | None, kinds: tuple[str, ...], rate: float) -> None:
    """Break real servers in every way we know, and hold each session against its one-shot run."""
    seed = seed_of_now() if seed is None else seed
    for kind in kinds:
        click.echo(f"{kind}: seed {seed}, {histories} histories")
        with click.progressbar(length=histories, show_pos=True, show_eta=True) as bar:

            def report(tally: Tally, bar: "click._termui_impl.ProgressBar[int]" = bar) -> None:
                bar.update(tally.histories - bar.pos)

            try:
                tally = run(kind, seed, histories, rate=rate, report=report)
            except* Violation as group:
                raise click.ClickException(f"seed {seed}: {'; '.join(map(str, group.exceptions))}") from group
        click.echo(str(tally))


if __name__ == "__main__":
    main(prog_name="python -m tests.faults")
