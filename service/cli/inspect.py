"""`cellgate inspect`: propose a manifest for a graph that was exported by another program."""

from pathlib import Path

import click

from service.cli.options import CONTEXT
from service.errors import StartupError
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
def inspect(graph: Path, output: Path | None, force: bool) -> None:
    """Propose a manifest (model.json) for an ONNX graph from its names and shapes. Review it before use.

    \b
    Examples:
      cellgate inspect other.onnx
      cellgate inspect models/other/1/model.onnx -o models/other/1
    """
    from service.repository import propose, with_example

    if output is not None and (output / MANIFEST_FILE).exists() and not force:
        raise click.ClickException(f"{output / MANIFEST_FILE} exists; --force replaces it")
    try:
        manifest = with_example(graph, propose(graph))
    except StartupError as error:
        raise click.ClickException(error.detail) from error
    if output is None:
        click.echo(manifest.model_dump_json(indent=1))
        return
    try:
        output.mkdir(parents=True, exist_ok=True)
        manifest.write(output)
    except OSError as error:
        raise click.ClickException(f"{output / MANIFEST_FILE}: {error.strerror}") from error
    click.echo(f"wrote {output / MANIFEST_FILE}: check task, kinds, labels and the example's answer")
