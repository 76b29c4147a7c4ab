"""Errors of states that a client gives."""

from cellgate.errors.root import BadInput, Conflict, NotFound


class InvalidState(BadInput, code="invalid_state"):
    """Not a state token, or one that was modified, or made for another tenant or with another secret."""


class StateSecretMissing(BadInput, code="state_secret_missing"):
    """The server has API keys but no secret for tokens of states."""


class UnknownState(NotFound, code="unknown_state"):
    """The version has no initial state of that name."""


class StateMismatch(Conflict, code="state_mismatch"):
    """The state was made on another model, version or graph: `reason`."""
