"""`cellgate policy`: show and change which versions of a model answer which requests."""

from typing import TYPE_CHECKING, Any

import click

from service.cli.options import CONTEXT, settings_options
from service.errors import StartupError
from service.settings import Settings

if TYPE_CHECKING:
    from service.repository import Policy


@click.group(context_settings=CONTEXT)
def policy() -> None:
    """Show and change which versions of a model answer which requests.

    A running server follows the file models/NAME/policy.json by itself.

    \b
    Examples:
      cellgate policy show vowels
      cellgate policy set vowels --default production --alias production=2
      cellgate policy set vowels --canary 3:0.05
    """


@policy.command("show", context_settings=CONTEXT)
@settings_options("models_dir")
@click.argument("name")
def show(settings: Settings, name: str) -> None:
    """Print the policy of a model as JSON.

    \b
    Example:
      cellgate policy show vowels
    """
    from service.repository import Policy, read_policy

    folder = settings.models_dir / name
    try:
        click.echo((read_policy(folder) or Policy()).model_dump_json(indent=2))
    except ValueError as error:
        raise StartupError(str(error)) from error


@policy.command("set", context_settings=CONTEXT)
@settings_options("models_dir")
@click.argument("name")
@click.option("--default", help='version of requests that name none: "highest", a version or an alias')
@click.option("--alias", "aliases", multiple=True, metavar="ALIAS=VERSION", help="set an alias (repeatable)")
@click.option("--remove-alias", "removed", multiple=True, metavar="ALIAS", help="remove one (repeatable)")
@click.option("--canary", metavar="VERSION:WEIGHT", help="start a share of new sessions on a version; none")
@click.option("--shadow", metavar="VERSION", help="compare a version with the sessions' own; none")
def set_policy(settings: Settings, name: str, **options: Any) -> None:
    """Change the named parts of a policy; the others stay as they are.

    \b
    Example:
      cellgate policy set vowels --default production --alias production=2 --canary none
    """
    from service.repository import change_policy

    folder = settings.models_dir / name
    if not folder.is_dir():
        raise StartupError(f"no model {name!r} in {settings.models_dir.resolve()}")
    changed = change_policy(folder, lambda current: _changed(current, **options))
    click.echo(changed.model_dump_json(indent=2))


def _changed(
    current: "Policy",
    *,
    default: str | None,
    aliases: tuple[str, ...],
    removed: tuple[str, ...],
    canary: str | None,
    shadow: str | None,
) -> "Policy":
    """The policy with the options applied. Raises StartupError."""
    from pydantic import ValidationError

    from service.repository import Policy, describe_faults

    fields = current.model_dump()
    if default is not None:
        fields["default"] = default
    for entry in aliases:
        alias, _, version = entry.partition("=")
        fields["aliases"][alias] = version
    for alias in removed:
        fields["aliases"].pop(alias, None)
    if canary is not None:
        version, _, weight = canary.partition(":")
        fields["canary"] = None if canary == "none" else {"version": version, "weight": _number(weight)}
    if shadow is not None:
        fields["shadow"] = None if shadow == "none" else shadow
    try:
        return Policy.model_validate(fields)
    except ValidationError as error:
        raise StartupError("; ".join(describe_faults(error))) from error


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise StartupError(f"canary: expected VERSION:WEIGHT, as in 3:0.05, got weight {text!r}") from error
