"""Runs `cellgate` in this process."""

from click.testing import CliRunner, Result

from service.__main__ import main


def run(*arguments: str, **environ: str) -> Result:
    """The result of one command line, with these variables in its environment."""
    return CliRunner().invoke(main, arguments, env=environ)
