"""Options that commands share: a flag for each setting, with the description that the setting has."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from service.errors import CellgateError
from service.settings import GROUPS, Settings

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
METAVARS: dict[Any, str] = {int: "INTEGER", float: "NUMBER", Path: "PATH", Path | None: "PATH"}

Command = Callable[..., Any]


class GroupedCommand(click.Command):
    """A command whose help shows the settings in their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group, and the other options first."""
        records: dict[str, list[tuple[str, str]]] = {"Options": []}
        group_of = {name: heading for heading, group in GROUPS.items() for name in group.model_fields}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None:
                records.setdefault(group_of.get(option.name or "", "Options"), []).append(record)
        for heading, rows in records.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


def announce(text: str) -> None:
    """Say on a terminal what takes seconds. A pipe, such as a log, gets nothing."""
    if sys.stderr.isatty():
        click.echo(f"{text} …", err=True)


def settings_options(*names: str) -> Callable[[Command], Command]:
    """Add a flag for each named setting, and --config. The command receives `Settings` as first argument.

    A CellgateError that the command raises becomes one line on stderr and exit status 1.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_settings(config: Path | None, **flags: Any) -> Any:
            chosen = {name: flags.pop(name) for name in names}
            try:
                return command(Settings.load(chosen, os.environ, config), **flags)
            except CellgateError as error:
                raise click.ClickException(error.detail) from error

        config_file = click.Path(path_type=Path, dir_okay=False, exists=True)
        options = [_option(name, Settings.model_fields[name]) for name in names]
        options.insert(0, click.option("--config", type=config_file, help="TOML file with settings"))
        decorated: Command = with_settings
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def _option(name: str, field: FieldInfo) -> Callable[[Command], Command]:
    """The flag of one setting. Its default is None: `Settings.load` then looks at the other sources."""
    flag = name.replace("_", "-")
    is_choice = get_origin(field.annotation) is Literal
    return click.option(
        f"--{flag}/--no-{flag}" if field.annotation is bool else f"--{flag}",
        name,
        type=click.Choice(get_args(field.annotation)) if is_choice else None,
        metavar=None if is_choice else METAVARS.get(field.annotation),
        default=None,
        help=f"{field.description} [CELLGATE_{name.upper()}; {_default(field)}]",
    )


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "unset" if value in (None, "") else str(value)
