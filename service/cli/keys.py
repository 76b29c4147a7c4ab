"""`cellgate keys`: API keys, made here and kept by nobody but their tenant."""

import click

from service.cli.options import CONTEXT


@click.group(context_settings=CONTEXT)
def keys() -> None:
    """Make API keys. With none configured, a server is open to whoever reaches it.

    \b
    Example:
      cellgate keys new acme >> keys.toml
      CELLGATE_KEYS_FILE=keys.toml cellgate serve --host 0.0.0.0
    """


@keys.command("new", context_settings=CONTEXT)
@click.argument("tenant")
def new(tenant: str) -> None:
    """A fresh key for a tenant: the key on stderr, this once; its table for the keys file on stdout.

    \b
    Example:
      cellgate keys new acme >> keys.toml
    """
    from service.http.keys import new_key
    from service.names import TENANT_NAME

    if not TENANT_NAME.fullmatch(tenant):
        raise click.BadParameter("letters, digits, '.', '_' and '-', at most 63, the first a letter or digit")
    key, entry = new_key()
    click.echo(f"API key of {tenant}, shown this once: {key}", err=True)
    click.echo(f'["{tenant}"]\nkeys = ["{entry}"]')
