"""The base of all errors that a user can cause and fix. Knows nothing of the rest."""


class TrainingError(Exception):
    """Its message names the problem and the fix; a command prints it without a traceback."""
