"""The base of all errors that a user can cause and fix. Knows nothing of the rest."""


class TrainingError(Exception):
    """Its message names the problem and the fix; a command prints it without a traceback."""


def missing_package(error: ModuleNotFoundError) -> str:
    """The message for a package that is not installed. A module of our own is a bug: it is raised again."""
    package = (error.name or "").partition(".")[0]
    if package in ("training", "service"):
        raise error
    return (
        f"cellgate-train needs {package}, which is not installed. In a clone: pip install -e '.[train]'; "
        "from an index: pip install 'cellgate[train]'"
    )
