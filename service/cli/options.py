"""What the commands share: flags that are the settings, documented where those are."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import SecretStr

from service.errors import CellgateError
from service.settings import Settings

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
METAVARS: dict[Any, str] = {int: "INTEGER", float: "NUMBER", Path: "PATH", Path | None: "PATH"}


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
            told = "unset" if shown in (None, "") else shown
            text = f"{field.description} [CELLGATE_{name.upper()}; {told}]"
            flag = f"--{name.replace('_', '-')}" + (
                f"/--no-{name.replace('_', '-')}" if field.annotation is bool else ""
            )
            is_choice = get_origin(field.annotation) is Literal
            with_settings = click.option(
                flag,
                name,
                type=click.Choice(get_args(field.annotation)) if is_choice else None,
                metavar=None if is_choice else METAVARS.get(field.annotation),
                default=None,
                help=text,
            )(with_settings)
        return click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            help="TOML file of settings",
        )(with_settings)

    return decorate
