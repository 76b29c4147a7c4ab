"""States that a client gives: tokens, and names of initial states."""

from service.errors.root import BadInput, CellgateError, NotFound


class InvalidState(BadInput, status=422, code="invalid_state", title="Invalid state token"):
    """The string is no state token, was modified, or was made for another tenant or with another secret."""


class StateSecretMissing(
    BadInput, status=422, code="state_secret_missing", title="State tokens are not configured"
):
    """The server has API keys but no `state_secret`, so it neither makes nor accepts state tokens."""


class UnknownState(NotFound, code="unknown_state", title="Unknown initial state"):
    """The version has no initial state of that name."""


class StateMismatch(CellgateError, status=409, code="state_mismatch", title="State belongs to another model"):
    """The state token was made on another model, version or graph; `reason` says which."""
