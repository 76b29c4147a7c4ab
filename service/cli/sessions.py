"""`cellgate sessions`: read and change the session store, whether a server is running or not."""

import json
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.cli.options import CONTEXT, settings_options
from service.cli.store import BOUNDS, STORE, quotas_of, with_store
from service.errors import BodyTooLarge
from service.names import MAX_STEP, TENANT_NAME, TENANT_NAME_RULE, check_session_name, file_of_session
from service.settings import Settings

if TYPE_CHECKING:
    from service.sessions import Expected, History, Page, Resources

MAX_TENANTS_SHOWN = 10
COLUMNS = ("session", "model", "version", "step", "last_request")


def _check_tenant(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if value and not TENANT_NAME.fullmatch(value):
        raise click.BadParameter(TENANT_NAME_RULE)
    return value


NAME = click.argument("name")
TENANT = click.option(
    "--tenant",
    default="",
    metavar="NAME",
    callback=_check_tenant,
    help="sessions of this tenant; default: sessions of a server without API keys",
)
AT = click.option("--at", type=click.IntRange(0, MAX_STEP), help="refuse if the session is at another step")


@click.group(context_settings=CONTEXT)
def sessions() -> None:
    """List, show, rewind, export, import and delete sessions. The server may be running or not.

    \b
    Examples:
      cellgate sessions list
      cellgate sessions show call-42
      cellgate sessions rewind call-42 120
      cellgate sessions export call-42 -o call-42.cgs
      cellgate sessions import call-42 call-42.cgs
      cellgate sessions rm call-42
      cellgate sessions list --tenant acme
    """


@sessions.command("list", context_settings=CONTEXT)
@settings_options(*STORE)
@TENANT
@click.option("--after", default="", metavar="NAME", help="only sessions whose name sorts after this one")
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1), help="maximum number of lines"
)
@click.option("--model", metavar="NAME", help="only sessions of this model")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def list_sessions(
    settings: Settings, tenant: str, after: str, limit: int, model: str | None, as_json: bool
) -> None:
    """List live sessions: a header, then one line each, with tabs between the columns.

    \b
    Examples:
      cellgate sessions list --sessions-dir /data --limit 1000
      cellgate sessions list --json
    """

    async def read(resources: "Resources") -> "tuple[Page, list[str]]":
        page = await resources.page(tenant, after=after, limit=limit, model=model)
        tenants = await resources.tenants(MAX_TENANTS_SHOWN + 2)
        return page, [name for name in tenants if name != tenant]

    page, others = with_store(settings, read)
    rows = [
        (name, record.model, record.version, record.step, _iso(record.touched_ms))
        for name, record in page.sessions
    ]
    if as_json:
        listed = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        click.echo(json.dumps({"sessions": listed, "next": page.next}, indent=1))
    else:
        for row in (COLUMNS, *rows):
            click.echo("\t".join(str(value) for value in row))
    if page.next is not None:
        click.echo(f"more: --after {page.next}", err=True)
    if others:
        shown = [f"--tenant {name}" if name else "no --tenant" for name in others[:MAX_TENANTS_SHOWN]]
        shown += ["…"] if len(others) > MAX_TENANTS_SHOWN else []
        click.echo(f"other tenants have sessions, not listed here: {', '.join(shown)}", err=True)


def _expected(at: int | None) -> "Expected | None":
    from service.sessions import Expected

    return Expected.of(at, None)


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


@sessions.command("show", context_settings=CONTEXT)
@settings_options(*STORE)
@TENANT
@NAME
def show_session(settings: Settings, tenant: str, name: str) -> None:
    """Show one session as JSON.

    \b
    Example:
      cellgate sessions show call-42
    """
    record = with_store(settings, lambda resources: resources.read(tenant, check_session_name(name)))
    fields = {
        "session": name,
        "model": record.model,
        "version": record.version,
        "step": record.step,
        "created_ms": record.created_ms,
        "touched_ms": record.touched_ms,
        "ttl_ms": record.ttl_ms,
        "state_bytes": len(record.state),
        "rewinds": record.rewinds,
        "history": None if record.history is None else _history(record.history),
    }
    click.echo(json.dumps(fields, indent=1))


def _history(history: "History") -> dict[str, Any]:
    return {
        "last": history.last,
        "every": history.every or None,
        "checkpoints": [checkpoint.step for checkpoint in history.checkpoints],
        "bytes": history.num_bytes,
    }


@sessions.command("rewind", context_settings=CONTEXT)
@settings_options(*STORE)
@TENANT
@NAME
@click.argument("step", type=click.IntRange(0, MAX_STEP))
@AT
def rewind_session(settings: Settings, tenant: str, name: str, step: int, at: int | None) -> None:
    """Return to an earlier step that the session keeps: `show` lists them under `checkpoints`.

    \b
    Example:
      cellgate sessions rewind call-42 120
    """
    record = with_store(
        settings, lambda resources: resources.rewind(tenant, check_session_name(name), step, at=at)
    )
    click.echo(f"{name} is at step {record.step} of {record.model} version {record.version}")


@sessions.command("export", context_settings=CONTEXT)
@settings_options(*STORE, "models_dir")
@TENANT
@NAME
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="file to write [NAME.cgs; with --state NAME.safetensors]",
)
@click.option("--state", "is_state", is_flag=True, help="write only the state, as a named initial state")
def export_session(settings: Settings, tenant: str, name: str, output: Path | None, is_state: bool) -> None:
    """Write a session to a file with a checksum; or its state to a file from which new sequences can begin.

    \b
    Examples:
      cellgate sessions export call-42 -o call-42.cgs
      cellgate sessions export call-42 --state -o models/vowels/1/states/warm.safetensors
    """

    def export(resources: "Resources") -> Awaitable[bytes]:
        write = resources.export_state if is_state else resources.export
        return write(tenant, check_session_name(name))

    blob = with_store(settings, export)
    path = output or Path(file_of_session(name, is_state=is_state))
    try:
        if is_state:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob)
    except OSError as error:
        raise click.FileError(str(path), error.strerror) from error
    click.echo(f"wrote {path}: {len(blob)} bytes")


@sessions.command("import", context_settings=CONTEXT)
@settings_options(*STORE, "models_dir", *BOUNDS)
@TENANT
@NAME
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--version", help="import into this version of the model; its states must have the same shapes")
@click.option("--replace", is_flag=True, help="replace a live session with the same name")
@click.option(
    "--at", type=click.IntRange(0, MAX_STEP), help="replace the live session that is at this step, no other"
)
def import_session(
    settings: Settings, tenant: str, name: str, file: Path, version: str | None, replace: bool, at: int | None
) -> None:
    """Import an exported session. The limits in the settings apply, as they do in the server.

    \b
    Example:
      cellgate sessions import call-42 call-42.cgs --models-dir /srv/models
    """
    if file.stat().st_size > settings.max_body_bytes:
        raise BodyTooLarge(f"{file} is larger than max_body_bytes, {settings.max_body_bytes} bytes")
    blob = file.read_bytes()
    record = with_store(
        settings,
        lambda resources: resources.import_(
            tenant,
            check_session_name(name),
            blob,
            version=version,
            replace_live=replace,
            expected=_expected(at),
        ),
        create=True,
        quotas=quotas_of(settings, tenant),
    )
    click.echo(f"{name} is at step {record.step} of {record.model} version {record.version}")


@sessions.command("rm", context_settings=CONTEXT)
@settings_options(*STORE)
@TENANT
@click.argument("names", nargs=-1, required=True)
@AT
def remove_sessions(settings: Settings, tenant: str, names: tuple[str, ...], at: int | None) -> None:
    """Delete sessions.

    \b
    Example:
      cellgate sessions rm call-42 call-43
    """

    if at is not None and len(names) > 1:
        raise click.UsageError("--at is the step of one session")

    async def delete(resources: "Resources") -> None:
        for name in names:
            await resources.delete(tenant, check_session_name(name), expected=_expected(at))
            click.echo(f"removed {name}")

    with_store(settings, delete)
