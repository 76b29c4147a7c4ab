"""`cellgate keys`: create API keys. Only their hashes are stored."""

import click

from service.cli.options import CONTEXT
from service.names import TENANT_NAME, TENANT_NAME_RULE


@click.group(context_settings=CONTEXT)
def keys() -> None:
    """Create API keys. A server without any key accepts requests from every client that reaches it.

    \b
    Example:
      cellgate keys new acme >> keys.toml
      CELLGATE_KEYS_FILE=keys.toml cellgate serve --host 0.0.0.0
    """


@keys.command("new", context_settings=CONTEXT)
@click.argument("tenant")
def new(tenant: str) -> None:
    """Create a key for a tenant. The key goes to stderr, its table for the keys file to stdout.

    The file holds only a hash: the key cannot be shown again. A second key can be appended: the tenant then
    has two.

    \b
    Example:
      cellgate keys new acme >> keys.toml
    """
    from service.http.keys import PREFIX, new_key

    if not TENANT_NAME.fullmatch(tenant):
        raise click.BadParameter(TENANT_NAME_RULE)
    key, entry = new_key()
    click.echo(f"API key of {tenant} (shown only once): {key}", err=True)
    click.echo(f'[["{tenant}".keys]]\nsha256 = "{entry.removeprefix(PREFIX)}"')
