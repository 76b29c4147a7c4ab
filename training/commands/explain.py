"""`cellgate-train explain`."""

import json
from pathlib import Path

import click

from training.commands.errors import errors, finished_run


@click.command()
@click.argument("name", metavar="RUN")
@click.argument("sequence", type=click.Path(path_type=Path), required=False)
@click.option(
    "--test", "row", type=click.IntRange(0), help="Take this sequence of the test part, from 0, and no file."
)
@click.option("--steps", type=click.IntRange(1), help="Only so many steps of it, the first.")
@click.option("--target", help="The output to explain, by name or number.  [default: the likeliest]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where the pictures go.  [default: RUN/explained]"
)
def explain(
    name: str, sequence: Path | None, row: int | None, steps: int | None, target: str | None, out: Path | None
) -> None:
    """Show what happens inside a RUN's network, step by step, while it reads SEQUENCE.

    RUN is a run folder, or the name of one in runs/; SEQUENCE a JSON file as /predict takes it: a whole body,
    of which the first sequence counts, or a sequence alone. What comes
    are gates and states of each layer, what is said at each step, and what each input adds to it (integrated
    gradients): as pictures and as JSON.

    \b
    cellgate-train explain vowels docs/examples/utterance.json
    cellgate-train explain runs/vowels --test 7 --out /tmp/why
    """
    if (sequence is None) == (row is None):
        raise click.UsageError("give either SEQUENCE or --test")
    folder = finished_run(name)
    with errors():
        from training import explain as inside
        from training import figures, posted, run

        done = run.read(folder)
        truth = None
        if sequence is not None:
            read = posted.read(sequence, done.data.inputs)
        else:
            assert row is not None
            if row >= len(done.data.test):
                raise inside.ExplainError(f"--test {row}: the test part has {len(done.data.test)} sequences")
            read, truth = done.data.test.sequences[row], done.data.test.targets[row]
        names = inside.output_names(done.data)
        wanted = _output(target, names)
        found = inside.explain(done.network, done.data, read[:steps], target=wanted)
        out = out or folder / "explained"
        out.mkdir(parents=True, exist_ok=True)
        (out / "explained.json").write_text(json.dumps(found.to_json()) + "\n")
        for layer, insides in enumerate(found.layers):
            figures.draw_inside(insides, title=f"layer {layer}", path=out / f"layer_{layer}.png")
        told = done.data.forecast
        if told is None:
            figures.draw_outputs(found.outputs, names=names, path=out / "outputs.png")
        else:
            figures.draw_foretold(
                found.outputs,
                names=[f"{one} {when}" for one in done.data.labels for when in told.names],
                quantiles=told.quantiles,
                truth=None if truth is None else truth[:steps],
                path=out / "outputs.png",
            )
        figures.draw_saliency(
            found.saliency, names=found.input_names, of=names[found.target], path=out / "saliency.png"
        )
    order = found.saliency.sum(axis=0)
    most = sorted(zip(order, found.input_names, strict=True), key=lambda pair: -abs(pair[0]))[:5]
    click.echo(f"{out}: explained.json, {len(found.layers)} layers, outputs.png, saliency.png")
    click.echo(f"{names[found.target]!r}: {found.outputs[-1, found.target]:.4g} at step {len(found.outputs)}")
    unit = "" if told else ", in logits"
    click.echo("what added most: " + ", ".join(f"{of} {value:+.3g}" for value, of in most))
    click.echo(f"all of it: {order.sum():+.4g}, from {found.start:.4g} of the baseline{unit}")


def _output(target: str | None, names: tuple[str, ...]) -> int | None:
    if target is None:
        return None
    if target in names:
        return names.index(target)
    if not target.isdecimal():
        raise click.BadParameter(f"{target!r} is none of {', '.join(names)}", param_hint="--target")
    return int(target)
