"""What a user can cause and mend. Knows nothing of the rest."""


class TrainingError(Exception):
    """The message says what is wrong and what to do; a command prints it without a traceback."""
