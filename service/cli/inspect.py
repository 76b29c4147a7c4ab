"""`cellgate inspect`: propose a manifest for a graph that was exported by another program."""

import sys
from pathlib import Path
from typing import Any

import click

from service.cli.options import CONTEXT, announce
from service.cli.proposal_options import proposal_options
from service.errors import CellgateError
from service.manifest import MANIFEST_FILE


@click.command(context_settings=CONTEXT)
@click.argument("graph", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    help="write model.json into this folder; default: print it",
)
@click.option("--force", is_flag=True, help="replace an existing model.json")
@proposal_options
def inspect(graph: Path, output: Path | None, force: bool, options: dict[str, Any]) -> None:
    """Propose a manifest (model.json) for an ONNX graph. Check it before use.

    The graph is run on random values, whole and in pieces, to measure its axes, states and outputs. A field
    that cannot be measured is "?" in the draft; stderr explains it, with the option that decides it. If the
    output folder has a model.json, only its example is computed, if it is open or with --example.

    The exit status is 0 if the draft is complete, 1 if a field is open; the draft is written in both cases.

    \b
    Examples:
      cellgate inspect other.onnx
      cellgate inspect detector.onnx --constant sr=16000 --window 576 --hop 512 -o models/detector/1
      cellgate inspect models/other/1/model.onnx -o models/other/1 --example steps.json
    """
    announce(f"running {graph} on random values")
    from service.repository import Options, propose_apart

    try:
        if output is not None and (output / MANIFEST_FILE).exists() and not force:
            _replace_example(graph, output, options["steps"])
            return
        draft = propose_apart(graph, Options(**options))
    except CellgateError as error:
        raise click.ClickException(error.detail) from error
    show(draft.notes, draft.open)
    if output is None:
        click.echo(draft.text, nl=False)
    else:
        write(output, draft.text)
        click.echo(f"wrote {output / MANIFEST_FILE}: check task, kinds, labels and the example")
    if draft.open:
        sys.exit(1)


def show(notes: tuple[str, ...], open_fields: tuple[str, ...]) -> None:
    """Print what should be checked and what is open, to stderr."""
    for note in notes:
        click.echo(f"note: {note}", err=True)
    for line in open_fields:
        click.echo(f"open: {line}", err=True)


def write(folder: Path, text: str) -> None:
    """Write model.json. Raises ClickException."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST_FILE).write_text(text)
    except OSError as error:
        raise click.ClickException(f"{folder / MANIFEST_FILE}: {error.strerror}") from error


def _replace_example(graph: Path, output: Path, steps: Any) -> None:
    """Compute the example of a manifest that is there. Raises CellgateError or ClickException."""
    from service.repository import needs_example, recompute_example

    if steps is None and not needs_example(output):
        raise click.ClickException(f"{output / MANIFEST_FILE} exists; --force replaces it")
    manifest = recompute_example(graph, output, steps)
    write(output, manifest.model_dump_json(indent=1) + "\n")
    click.echo(f"wrote the example of {output / MANIFEST_FILE}: check its answer")
