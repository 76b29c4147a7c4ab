"""`cellgate sessions`: the session store from the shell, whether or not a server runs."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click

from service.cli.options import CONTEXT, settings_options
from service.errors import BodyTooLarge, StartupError
from service.names import TENANT_NAME, require_session_name
from service.sessions.resources import Page, Resources
from service.sessions.store import Quota
from service.settings import Settings

T = TypeVar("T")
STORE = ("store", "sessions_dir", "redis_url", "redis_shards")
# What a server holds an import to, besides.
BOUNDS = (
    "session_ttl_s", "session_max_ttl_s", "max_sessions", "max_session_bytes", "session_min_idle_s",
    "max_tombstones", "max_body_bytes", "keys_file", "keys",
)  # fmt: skip
MAX_TENANTS_TOLD = 10
NAME = click.argument("name")


def _check_tenant(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if value and not TENANT_NAME.fullmatch(value):
        raise click.BadParameter("expected letters, digits, '.', '_' and '-'")
    return value


WHOSE = click.option(
    "--tenant",
    default="",
    metavar="NAME",
    callback=_check_tenant,
    help="whose sessions, where the server has API keys [default: those of a server without keys]",
)


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
      cellgate sessions list --tenant acme
    """


@sessions.command("list", context_settings=CONTEXT)
@settings_options(*STORE)
@WHOSE
@click.option("--after", default="", help="only names greater than this")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1))
@click.option("--model", help="only sessions of this model")
def list_sessions(settings: Settings, tenant: str, after: str, limit: int, model: str | None) -> None:
    """One line per live session: name, model, version, step, last touched.

    \b
    Example:
      cellgate sessions list --sessions-dir /data --limit 1000
    """

    async def look(parts: Resources) -> tuple[Page, list[str]]:
        page = await parts.page(tenant, after=after, limit=limit, model=model)
        return page, [name for name in await parts.tenants(MAX_TENANTS_TOLD + 2) if name != tenant]

    page, others = _with(settings, look)
    for name, record in page.sessions:
        touched = datetime.fromtimestamp(record.touched_ms / 1000, UTC).isoformat(timespec="seconds")
        click.echo(f"{name}\t{record.model}\t{record.version}\t{record.step}\t{touched}")
    if page.next is not None:
        click.echo(f"more: --after {page.next}", err=True)
    if others:
        told = [f"--tenant {name}" if name else "without a tenant" for name in others[:MAX_TENANTS_TOLD]]
        told += ["…"] if len(others) > MAX_TENANTS_TOLD else []
        click.echo(f"there are others, not shown: {', '.join(told)}", err=True)


@sessions.command("show", context_settings=CONTEXT)
@settings_options(*STORE)
@WHOSE
@NAME
def show_session(settings: Settings, tenant: str, name: str) -> None:
    """One session, as JSON.

    \b
    Example:
      cellgate sessions show call-42
    """
    record = _with(settings, lambda parts: parts.read(tenant, require_session_name(name)))
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
@WHOSE
@NAME
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="file to write [NAME.cgs]"
)
def export_session(settings: Settings, tenant: str, name: str, output: Path | None) -> None:
    """Write a session into a file, with a checksum.

    \b
    Example:
      cellgate sessions export call-42 -o call-42.cgs
    """
    blob = _with(settings, lambda parts: parts.export(tenant, require_session_name(name)))
    path = output or Path(name.replace("/", "_") + ".cgs")
    path.write_bytes(blob)
    click.echo(f"wrote {path}: {len(blob)} bytes")


@sessions.command("import", context_settings=CONTEXT)
@settings_options(*STORE, "models_dir", *BOUNDS)
@WHOSE
@NAME
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--version", help="take it onto this version of its model, if the states agree")
@click.option("--replace", is_flag=True, help="take the place of a live session of that name")
def import_session(
    settings: Settings, tenant: str, name: str, file: Path, version: str | None, replace: bool
) -> None:
    """Take an exported session in, within the bounds that the server's settings set.

    \b
    Example:
      cellgate sessions import call-42 call-42.cgs --models-dir /srv/models
    """
    if file.stat().st_size > settings.max_body_bytes:
        raise BodyTooLarge(f"{file} has more than the {settings.max_body_bytes} bytes of max_body_bytes")
    blob = file.read_bytes()
    record = _with(
        settings,
        lambda parts: parts.import_(
            tenant, require_session_name(name), blob, version=version, replace_live=replace
        ),
        brings_to=tenant,
    )
    click.echo(f"{name} is at step {record.step} of {record.model} version {record.version}")


@sessions.command("rm", context_settings=CONTEXT)
@settings_options(*STORE)
@WHOSE
@click.argument("names", nargs=-1, required=True)
def remove_sessions(settings: Settings, tenant: str, names: tuple[str, ...]) -> None:
    """Forget sessions.

    \b
    Example:
      cellgate sessions rm call-42 call-43
    """
    for name in names:
        _with(settings, lambda parts, name=name: parts.delete(tenant, require_session_name(name)))  # type: ignore[misc]
        click.echo(f"removed {name}")


def _with(settings: Settings, use: Callable[[Resources], Awaitable[T]], *, brings_to: str | None = None) -> T:
    """Open the store, use it, close it. `brings_to`: a tenant who gets a session that may be the first."""
    from service.app import (  # ONNX Runtime only where it is needed: --help is instant
        create_clock,
        create_store,
    )
    from service.repository.repository import shelved
    from service.sessions.rules import Sessions

    if settings.store == "memory":
        raise StartupError("the memory store is gone with its server: there is nothing to look into")
    quotas: dict[str, Quota] = {}
    if brings_to is not None:
        quotas = _quotas(settings, brings_to)
    elif settings.store == "lmdb" and not (settings.sessions_dir / "data.mdb").is_file():
        raise StartupError(f"no sessions in {settings.sessions_dir.resolve()}")

    async def work() -> T:
        store = create_store(settings)
        await store.open()
        try:
            clock = create_clock(settings)
            parts = Sessions(store, ttl_s=settings.session_ttl_s, clock=clock, quotas=quotas)
            find_home = shelved(settings.models_dir)
            return await use(Resources(parts, find_home, max_ttl_s=settings.session_max_ttl_s))
        finally:
            await store.close()

    return asyncio.run(work())


def _quotas(settings: Settings, tenant: str) -> dict[str, Quota]:
    """What the server holds tenants to. Raises StartupError if it does not know this one."""
    from service.app import tenants_of

    tenants = tenants_of(settings)
    if tenants.by_name and tenant not in tenants.by_name:
        known = ", ".join(tenants.by_name)
        raise StartupError(
            f"no key is tenant {tenant!r}'s: nobody could ask for the session; there are {known}"
        )
    return tenants.quotas
