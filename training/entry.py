"""The entry point of the installed command `cellgate-train`. It imports the rest only when it is called."""

import sys
from importlib import import_module

from training.errors import missing_package


def main() -> None:
    """Run the command line. Without the packages of the extra `train`, exit with one line that says so."""
    try:
        command = import_module("training.__main__").main
    except ModuleNotFoundError as error:
        sys.exit(f"Error: {missing_package(error)}")
    command()
