"""`cellgate sessions`: the session store from the shell, whether or not a server runs."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click

from service.cli import CONTEXT, settings_options
from service.errors import StartupError
from service.resource import Resources
from service.settings import Settings

T = TypeVar("T")
STORE = ("store", "sessions_dir", "redis_url", "redis_shards")
NAME = click.argument("name")


@click.group(context_settings=CONTEXT)
def sessions() -> None:
    """Look into the session store; the server may be running or not.

    \b
    Examples:
      cellgate sessions list
      cellgate sessions show call-42
      cellgate sessions export call-42 -o call-42.cgs
      cellgate sessions import call-42 call-42.cgs
      cellgate sessions rm call-42
    """


@sessions.command("list", context_settings=CONTEXT)
@settings_options(*STORE)
@click.option("--after", default="", help="only names greater than this")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1))
@click.option("--model", help="only sessions of this model")
def list_sessions(settings: Settings, after: str, limit: int, model: str | None) -> None:
    """One line per live session: name, model, version, step, last touched.

    \b
    Example:
      cellgate sessions list --sessions-dir /data --limit 1000
    """
    page = _with(settings, lambda parts: parts.page("", after=after, limit=limit, model=model))
    for name, record in page.sessions:
        touched = datetime.fromtimestamp(record.touched_ms / 1000, UTC).isoformat(timespec="seconds")
        click.echo(f"{name}\t{record.model}\t{record.version}\t{record.step}\t{touched}")
    if page.next is not None:
        click.echo(f"more: --after {page.next}", err=True)


@sessions.command("show", context_settings=CONTEXT)
@settings_options(*STORE)
@NAME
def show_session(settings: Settings, name: str) -> None:
    """One session, as JSON.

    \b
    Example:
      cellgate sessions show call-42
    """
    record = _with(settings, lambda parts: parts.read("", name))
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


@sessions.command("export", context_settings=CONTEXT)
@settings_options(*STORE, "models_dir")
@NAME
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="file to write [NAME.cgs]"
)
def export_session(settings: Settings, name: str, output: Path | None) -> None:
    """Write a session into a file, with a checksum.

    \b
    Example:
      cellgate sessions export call-42 -o call-42.cgs
    """
    blob = _with(settings, lambda parts: parts.export("", name))
    path = output or Path(name.replace("/", "_") + ".cgs")
    path.write_bytes(blob)
    click.echo(f"wrote {path}: {len(blob)} bytes")


@sessions.command("import", context_settings=CONTEXT)
@settings_options(*STORE, "models_dir", "session_ttl_s", "session_max_ttl_s")
@NAME
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--version", help="take it onto this version of its model, if the states agree")
@click.option("--replace", is_flag=True, help="take the place of a live session of that name")
def import_session(settings: Settings, name: str, file: Path, version: str | None, replace: bool) -> None:
    """Take an exported session in.

    \b
    Example:
      cellgate sessions import call-42 call-42.cgs --models-dir /srv/models
    """
    blob = file.read_bytes()
    record = _with(
        settings,
        lambda parts: parts.import_("", name, blob, version=version, replace_live=replace),
        may_create=True,
    )
    click.echo(f"{name} is at step {record.step} of {record.model} version {record.version}")


@sessions.command("rm", context_settings=CONTEXT)
@settings_options(*STORE)
@click.argument("names", nargs=-1, required=True)
def remove_sessions(settings: Settings, names: tuple[str, ...]) -> None:
    """Forget sessions.

    \b
    Example:
      cellgate sessions rm call-42 call-43
    """
    for name in names:
        _with(settings, lambda parts, name=name: parts.delete("", name))  # type: ignore[misc]
        click.echo(f"removed {name}")


def _with(settings: Settings, use: Callable[[Resources], Awaitable[T]], *, may_create: bool = False) -> T:
    """Open the store, use it, close it."""
    from service.app import (  # ONNX Runtime only where it is needed: --help is instant
        create_clock,
        create_store,
    )
    from service.repository import shelved
    from service.sessions import Sessions

    if settings.store == "memory":
        raise StartupError("the memory store is gone with its server: there is nothing to look into")
    if settings.store == "lmdb" and not may_create and not (settings.sessions_dir / "data.mdb").is_file():
        raise StartupError(f"no sessions in {settings.sessions_dir.resolve()}")

    async def work() -> T:
        store = create_store(settings)
        await store.open()
        try:
            parts = Sessions(store, ttl_s=settings.session_ttl_s, clock=create_clock(settings))
            find_home = shelved(settings.models_dir)
            return await use(Resources(parts, find_home, max_ttl_s=settings.session_max_ttl_s))
        finally:
            await store.close()

    return asyncio.run(work())
