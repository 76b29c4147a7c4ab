"""The entry point of the installed command `cellgate`. It imports the rest only when it is called."""

import sys
from importlib import import_module

MISSING = (
    "Error: cellgate needs {package}, which is not installed. In a clone: pip install -e '.[serve]'; "
    "from an index: pip install 'cellgate[serve]'"
)


def main() -> None:
    """Run the command line. Without the packages of the extra `serve`, exit with one line that says so."""
    try:
        command = import_module("service.__main__").main
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "service":  # a module of our own: a bug
            raise
        sys.exit(MISSING.format(package=package))
    command()
