"""`cellgate-train explain`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from training.commands.errors import reported_errors
from training.commands.run_folder import finished_run

if TYPE_CHECKING:
    from training.explain import Explanation
    from training.run import Run


@click.command()
@click.argument("name", metavar="RUN")
@click.argument("sequence", type=click.Path(path_type=Path), required=False)
@click.option(
    "--test",
    "row",
    type=click.IntRange(0),
    help="Explain this sequence of the test part, from 0, not a file.",
)
@click.option("--steps", type=click.IntRange(1), help="Explain only the first steps of the sequence.")
@click.option("--target", help="The output to explain, by name or number.  [default: the most likely]")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The folder of the results.  [default: RUN/explained]"
)
def explain(
    name: str, sequence: Path | None, row: int | None, steps: int | None, target: str | None, out: Path | None
) -> None:
    """Explain step by step how the network of a RUN processes SEQUENCE.

    RUN is a run folder, or the name of one in runs/. SEQUENCE is a JSON file in the form of a /predict
    request, of which the first sequence counts, or of one sequence. The results are gates and states of each
    layer, the output at each step, and the contribution of each input to the last output (integrated
    gradients), as pictures and as JSON.

    \b
    cellgate-train explain vowels docs/examples/utterance.json
    cellgate-train explain runs/vowels --test 7 --out /tmp/why
    """
    if (sequence is None) == (row is None):
        raise click.UsageError("give either SEQUENCE or --test")
    folder = finished_run(name)
    with reported_errors():
        from training import explain as inside
        from training import run, sequence_file

        done = run.read(folder)
        truth = None
        if sequence is not None:
            x = sequence_file.read(sequence, done.data.inputs)
        else:
            assert row is not None
            if row >= len(done.data.test):
                raise inside.ExplainError(f"--test {row}: the test part has {len(done.data.test)} sequences")
            x, truth = done.data.test.sequences[row], done.data.test.targets[row]
        number = _output_number(target, inside.output_names(done.data))
        explanation = inside.explain(done.network, done.data, x[:steps], target=number)
        out = out or folder / "explained"
        out.mkdir(parents=True, exist_ok=True)
        _write(explanation, done, truth, out)
    _show(explanation, out, has_units=done.data.has_units)


def _output_number(target: str | None, names: tuple[str, ...]) -> int | None:
    if target is None:
        return None
    if target in names:
        return names.index(target)
    if not target.isdecimal():
        raise click.BadParameter(f"{target!r} is none of {', '.join(names)}", param_hint="--target")
    return int(target)


def _write(explanation: "Explanation", done: "Run", truth: Any, out: Path) -> None:
    from training import figures

    (out / "explained.json").write_text(json.dumps(explanation.to_json()) + "\n")
    for layer, insides in enumerate(explanation.layers):
        figures.draw_inside(insides, title=f"layer {layer}", path=out / f"layer_{layer}.png")
    forecast, names = done.data.forecast, explanation.output_names
    quantiles = forecast.quantiles if forecast else done.data.quantiles
    if not quantiles:
        figures.draw_outputs(explanation.outputs, names=names, path=out / "outputs.png")
    else:
        figures.draw_forecast(
            explanation.outputs,
            names=[
                f"{label} {horizon}".strip()
                for label in done.data.labels
                for horizon in (forecast.names if forecast else ("",))
            ],
            quantiles=quantiles,
            truth=None if truth is None or done.data.is_whole else truth[: len(explanation.outputs)],
            path=out / "outputs.png",
        )
    figures.draw_saliency(
        explanation.saliency,
        names=explanation.input_names,
        of=names[explanation.target],
        path=out / "saliency.png",
    )


def _show(explanation: "Explanation", out: Path, *, has_units: bool) -> None:
    name, outputs = explanation.output_names[explanation.target], explanation.outputs
    sums = explanation.saliency.sum(axis=0)
    largest = sorted(zip(sums, explanation.input_names, strict=True), key=lambda pair: -abs(pair[0]))[:5]
    unit = "" if has_units else ", in logits"
    click.echo(f"{out}: explained.json, {len(explanation.layers)} layers, outputs.png, saliency.png")
    click.echo(f"{name!r}: {outputs[-1, explanation.target]:.4g} at step {len(outputs)}")
    click.echo("largest contributions: " + ", ".join(f"{of} {value:+.3g}" for value, of in largest))
    click.echo(f"all contributions: {sums.sum():+.4g}, from {explanation.start:.4g} of the baseline{unit}")
