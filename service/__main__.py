"""The command line: flags → Settings → uvicorn, and a look at models and sessions from the shell."""

import asyncio
import functools
import json
import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr

from service.errors import CellgateError, StartupError
from service.manifest import MANIFEST_FILE
from service.settings import Settings

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=CONTEXT)
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


def settings_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Flags for the named settings, documented by the settings themselves; plus --config."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_settings(config: Path | None, **flags: Any) -> Any:
            chosen = {name: flags.pop(name) for name in names}
            try:
                return command(Settings.load(chosen, os.environ, config), **flags)
            except CellgateError as error:
                raise click.ClickException(error.detail) from error

        for name in reversed(names):
            field = Settings.model_fields[name]
            default = field.default
            shown = default.get_secret_value() if isinstance(default, SecretStr) else default
            text = f"{field.description} [CELLGATE_{name.upper()}; {shown}]"
            flag = f"--{name.replace('_', '-')}" + (
                f"/--no-{name.replace('_', '-')}" if field.annotation is bool else ""
            )
            with_settings = click.option(flag, name, default=None, help=text)(with_settings)
        return click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            help="TOML file of settings",
        )(with_settings)

    return decorate


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
    from service.serve import run  # uvicorn and ONNX Runtime only where they are needed: --help is instant

    run(settings)


@main.command(context_settings=CONTEXT)
@settings_options("models_dir", "provider")
@click.option("--json", "as_json", is_flag=True, help="for programs")
def models(settings: Settings, as_json: bool) -> None:
    """List the models on disk, and load each as the server would.

    \b
    Examples:
      cellgate models
      cellgate models --models-dir /srv/models --json
    """
    from service.app import batching_of
    from service.repository import Repository

    async def load() -> list[dict[str, Any]]:
        repository = Repository.load(
            settings.models_dir,
            batching_of(settings),
            provider=settings.provider,
            threads=settings.num_threads,
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
        click.echo(f"{row['name']:20} {row['version']:>4}  {row['task']:10} {metrics}")


@main.command(context_settings=CONTEXT)
@click.argument("graph", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    help="write model.json into this folder",
)
def inspect(graph: Path, output: Path | None) -> None:
    """Propose a manifest for an ONNX graph, from its names and shapes. Read it before you trust it.

    \b
    Examples:
      cellgate inspect other.onnx
      cellgate inspect models/other/1/model.onnx -o models/other/1
    """
    from service.example import with_example
    from service.propose import propose

    try:
        manifest = with_example(graph, propose(graph))
    except StartupError as error:
        raise click.ClickException(error.detail) from error
    if output is None:
        click.echo(manifest.model_dump_json(indent=1))
        return
    manifest.write(output)
    click.echo(
        f"wrote {output / MANIFEST_FILE}: check task, kinds and labels, and that the example is one you know"
    )


@main.group(context_settings=CONTEXT)
def sessions() -> None:
    """Look into the session store; the server may be running or not.

    \b
    Examples:
      cellgate sessions list
      cellgate sessions show call-42
      cellgate sessions rm call-42
    """


@sessions.command("list", context_settings=CONTEXT)
@settings_options("store", "sessions_dir", "redis_url")
@click.option("--after", default="", help="only names greater than this")
@click.option("--limit", default=100, show_default=True)
def list_sessions(settings: Settings, after: str, limit: int) -> None:
    """One line per live session: name, model, version, step, last touched.

    \b
    Example:
      cellgate sessions list --sessions-dir /data --limit 1000
    """
    for name, record in _with_sessions(settings, lambda parts: parts.page("", after=after, limit=limit)):
        touched = datetime.fromtimestamp(record.touched_ms / 1000, UTC).isoformat(timespec="seconds")
        click.echo(f"{name}\t{record.model}\t{record.version}\t{record.step}\t{touched}")


@sessions.command("show", context_settings=CONTEXT)
@settings_options("store", "sessions_dir", "redis_url")
@click.argument("name")
def show_session(settings: Settings, name: str) -> None:
    """One session, as JSON.

    \b
    Example:
      cellgate sessions show call-42
    """
    from service.sessions import session_key

    record = _with_sessions(settings, lambda parts: parts.read(session_key("", name)))
    shown = {
        "session": name,
        "model": record.model,
        "version": record.version,
        "step": record.step,
        "created_ms": record.created_ms,
        "touched_ms": record.touched_ms,
        "ttl_ms": record.ttl_ms,
        "state_bytes": len(record.state),
    }
    click.echo(json.dumps(shown, indent=1))


@sessions.command("rm", context_settings=CONTEXT)
@settings_options("store", "sessions_dir", "redis_url")
@click.argument("names", nargs=-1, required=True)
def remove_sessions(settings: Settings, names: tuple[str, ...]) -> None:
    """Forget sessions.

    \b
    Example:
      cellgate sessions rm call-42 call-43
    """
    from service.sessions import session_key

    for name in names:
        _with_sessions(settings, lambda parts, name=name: parts.delete(session_key("", name)))
        click.echo(f"removed {name}")


def _with_sessions(settings: Settings, use: Callable[..., Any]) -> Any:
    """Open the store, use it, close it."""
    from service.app import create_store
    from service.sessions import Sessions

    async def work() -> Any:
        store = create_store(settings)
        await store.open()
        try:
            return await use(
                Sessions(store, ttl_s=settings.session_ttl_s, clock=lambda: datetime.now(UTC).timestamp())
            )
        finally:
            await store.close()

    return asyncio.run(work())


if __name__ == "__main__":
    logging.captureWarnings(True)
    main(prog_name="cellgate" if sys.argv[0].endswith("__main__.py") else None)
