"""What a model lacks, or cannot do."""

from service.errors.root import BadInput, CellgateError, NotFound


class GenerationNotSupported(
    BadInput, status=422, code="generation_not_supported", title="Generation not supported"
):
    """The model does not generate: its task is not language, or it has no probabilities."""


class GatesNotSupported(BadInput, status=422, code="gates_not_supported", title="Gates not supported"):
    """The model's manifest lists no outputs that are gates."""


class UnknownModel(NotFound, code="unknown_model", title="Unknown model"):
    """No model of that name is loaded."""


class UnknownVersion(NotFound, code="unknown_version", title="Unknown version"):
    """The model is loaded, but not in that version."""


class ReadOnlyModels(
    CellgateError, status=409, code="models_read_only", title="Models directory is read-only"
):
    """The server cannot write the model's policy; nothing has changed."""


class ForecastNotSupported(BadInput, status=422, code="forecast_not_supported", title="Cannot forecast"):
    """The model does not forecast a value that the forecast needs, or has no quantiles to draw it from."""


class NonFiniteOutput(CellgateError, code="non_finite_output", title="Output is not finite"):
    """The model returned NaN or an infinity; the session has not changed. A manifest may allow them."""
