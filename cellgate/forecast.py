"""`forecast`: a model runs ahead of a session, on a copy of its state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellgate.catalog import Catalog
from cellgate.errors import BadReply
from cellgate.flow import Flow, Send
from cellgate.inputs import Steps, encode
from cellgate.models import Model
from cellgate.predict import JSON_HEADERS, dumps, post
from cellgate.predictions import Array
from cellgate.resources import path_of
from cellgate.retry import Retry


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """One or several paths ahead of a session."""

    values: Mapping[str, Array]
    """Each fed-back feature by name, [samples, horizon]: what the model forecasts for each step ahead."""
    output: Array
    """What the model answers after each step ahead, [samples, horizon, *dims]."""
    session: str
    step: int
    """Of the session, where the forecast begins."""
    seed: int | None = None
    """Of the samples; None: one path."""
    model: str = ""
    version: str = ""

    def __repr__(self) -> str:
        """One line."""
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in self.values.items())
        return f"Forecast(session={self.session!r}, step={self.step}, values=[{shapes}], seed={self.seed})"


@dataclass(frozen=True, slots=True)
class Horizon:
    """How far and how a forecast runs. None: the server's default."""

    horizon: int
    """Steps ahead."""
    inputs: Steps = None
    """The rows ahead; NaN or None where the model forecasts the value; None: it forecasts all."""
    samples: int | None = None
    """Paths that are drawn at random; 1: one, by the middle quantiles."""
    seed: int | None = None
    at: int | None = None
    """An earlier step that the session keeps."""


def forecast(session: str, horizon: Horizon, model: Model, catalog: Catalog, retry: Retry) -> Flow[Forecast]:
    """Run ahead of a session, which does not move. Raises ForecastNotSupported or UnknownCheckpoint."""
    fields = {
        "horizon": horizon.horizon,
        "inputs": None if horizon.inputs is None else encode(horizon.inputs, model),
        "samples": horizon.samples,
        "seed": horizon.seed,
        "at": horizon.at,
    }
    body = dumps({name: value for name, value in fields.items() if value is not None})
    reply, model = yield from post(
        Send("POST", path_of(session, "forecast"), body, JSON_HEADERS), catalog, retry
    )
    try:
        return _forecast(reply, model)
    except (KeyError, TypeError, ValueError) as error:
        raise BadReply(f"not a forecast: {error!r}") from error


def _forecast(reply: Mapping[str, Any], model: Model) -> Forecast:
    paths = reply["forecasts"]
    names = paths[0].get("values", {})
    return Forecast(
        values={name: np.asarray([path["values"][name] for path in paths], np.float64) for name in names},
        output=np.asarray([path["output"] for path in paths], model.outputs[0].dtype),
        session=reply["session"],
        step=reply["step"],
        seed=reply.get("seed"),
        model=model.name,
        version=model.version,
    )
