"""The command line: flags → Settings → uvicorn, and a look at models and sessions from the shell."""

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

import click

from service.cli.keys import keys
from service.cli.options import CONTEXT, settings_options
from service.cli.sessions import sessions
from service.errors import StartupError
from service.manifest import MANIFEST_FILE
from service.settings import Settings


@click.group(context_settings=CONTEXT, commands=[sessions, keys])
@click.version_option(package_name="cellgate")
def main() -> None:
    """Serve recurrent sequence models over HTTP, and keep their memory between requests.

    \b
    Examples:
      cellgate serve                                serve ./models on 127.0.0.1:8000
      cellgate models                               what is in ./models, and does it load
      cellgate inspect other.onnx                   propose a manifest for a graph made elsewhere
      cellgate sessions list                        who has state in the store
    """


@main.command(context_settings=CONTEXT)
@settings_options(*Settings.model_fields)
def serve(settings: Settings) -> None:
    """Serve the model repository.

    \b
    Examples:
      cellgate serve --port 9000 --workers 2
      CELLGATE_MODELS_DIR=/srv/models cellgate serve --host 0.0.0.0
      cellgate serve --config cellgate.toml
    """
    from service.server.run import (
        run,  # uvicorn and ONNX Runtime only where they are needed: --help is instant
    )

    run(settings)


@main.command(context_settings=CONTEXT)
@settings_options("models_dir", "provider")
@click.option("--json", "as_json", is_flag=True, help="for programs")
def models(settings: Settings, as_json: bool) -> None:
    """List the models on disk, and load each as the server would.

    One line each: name, version, task, whether batching and chunking change no bit (exact), metrics.

    \b
    Examples:
      cellgate models
      cellgate models --models-dir /srv/models --json
    """
    from service.app import batching_of
    from service.repository.repository import Hardware, Repository

    async def load() -> list[dict[str, Any]]:
        repository = Repository.load(
            settings.models_dir,
            batching_of(settings),
            Hardware(settings.provider, settings.num_threads),
            on_death=lambda: None,
        )
        return [
            {
                "name": model.name,
                "version": model.version,
                "task": model.manifest.task,
                "sessions": model.manifest.chunkable,
                "exact": model.is_exact,
                "metrics": model.manifest.metrics,
            }
            for model in repository
        ]

    rows = asyncio.run(load())
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        metrics = ", ".join(f"{name} {value:g}" for name, value in row["metrics"].items())
        exact = "exact" if row["exact"] else "inexact"
        click.echo(f"{row['name']:20} {row['version']:>4}  {row['task']:10} {exact:8} {metrics}".rstrip())


@main.command(context_settings=CONTEXT)
@click.argument("graph", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    help="write model.json into this folder",
)
@click.option("--force", is_flag=True, help="replace a model.json that is there")
def inspect(graph: Path, output: Path | None, force: bool) -> None:
    """Propose a manifest for an ONNX graph, from its names and shapes. Read it before you trust it.

    \b
    Examples:
      cellgate inspect other.onnx
      cellgate inspect models/other/1/model.onnx -o models/other/1
    """
    from service.repository.propose import propose
    from service.repository.rehearsal import with_example

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
    click.echo(
        f"wrote {output / MANIFEST_FILE}: check task, kinds and labels, and that the example is one you know"
    )


if __name__ == "__main__":
    logging.captureWarnings(True)
    main(prog_name="cellgate" if sys.argv[0].endswith("__main__.py") else None)
