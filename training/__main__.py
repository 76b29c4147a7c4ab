"""The command line `cellgate-train`, also `python -m training`.

A command is imported when it is named, and imports torch, which takes seconds, when it runs: `--help` is
instant.
"""

from importlib import import_module

import click

from training.errors import missing_package

COMMANDS = ("train", "evaluate", "export", "sweep", "scores", "explain", "compress", "lag")


class Commands(click.Group):
    """The commands by name: each is the object of its own name in its own module."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All names, in the order of a day's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command. Raises ClickException without the packages of the extra `train`."""
        if cmd_name not in COMMANDS:
            return None
        try:
            command: click.Command = getattr(import_module(f"training.commands.{cmd_name}"), cmd_name)
        except ModuleNotFoundError as error:
            raise click.ClickException(missing_package(error)) from error
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="cellgate")
def main() -> None:
    """Train recurrent networks, evaluate them, and export them for `cellgate serve`.

    \b
    cellgate-train train vowels --export my-models/vowels/1
    cellgate-train evaluate runs/vowels
    cellgate-train export my-models/vowels/2 --run runs/vowels
    """


if __name__ == "__main__":
    main()
