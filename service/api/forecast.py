"""The documentation of `POST /sessions/{session}/forecast`, which the gate answers without FastAPI."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from service.api.errors import LIVE_SESSION, SEQUENCES, errors
from service.api.predict import ANSWERED_BY_THE_GATE, GONE
from service.api.predict_schemas import PredictedLabel
from service.api.schemas import Schema
from service.errors import (
    DeadlineExceeded,
    ForecastNotSupported,
    ModelLoading,
    NonFiniteOutput,
    SequenceTooLong,
    SessionMismatch,
    TooManySequences,
    UnknownCheckpoint,
    WrongShape,
)
from service.names import MAX_STEP

OF_FORECAST = (
    GONE,
    ForecastNotSupported(
        "no output of the model forecasts its input 'x' one step ahead, so \"inputs\" needs a row for each "
        "of the 7 steps, and has 0 of 'x'",
        pointer="/inputs",
    ),
    WrongShape("8 rows, but the horizon is 7", pointer="/inputs"),
    SequenceTooLong("365 steps of 100 samples are 36500, the maximum is 20000", pointer="/horizon"),
    TooManySequences("2000 samples, the maximum is 1024", pointer="/samples"),
    UnknownCheckpoint,
    SessionMismatch,
    ModelLoading,
    NonFiniteOutput,
    DeadlineExceeded,
)


class ForecastBody(Schema):
    """How far to run ahead of a session, and what is known of the steps ahead."""

    horizon: int = Field(ge=1, le=MAX_STEP, description="steps; times `samples`, at most `max_steps`")
    inputs: list[Any] | dict[str, Any] | None = Field(
        None,
        description="the rows ahead, as `steps` of `/predict`; null in the place of a value, or a row, that "
        "the model's own outputs fill; missing rows at the end are such rows",
    )
    samples: int = Field(
        1,
        ge=1,
        description="1: the middle quantile is fed back; more: each feeds back values drawn from them",
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_STEP,
        description="the same seed gives the same samples; default: random, and part of the reply",
    )
    at: int | None = Field(
        None,
        ge=0,
        le=MAX_STEP,
        description="begin at a step that the session keeps; default: its current step",
    )


class OneForecast(BaseModel):
    """One sample: the outputs after each step ahead, and the values that were fed back."""

    output: list[Any] = Field(description="the model's first output after each step: [horizon][D]")
    label: list[str | None] | None = None
    probability: list[float | None] | None = None
    labels: list[list[PredictedLabel] | None] | None = None
    values: dict[str, list[float | None]] | None = Field(
        None, description="by feature that can be fed back: its value in each step ahead, fed back or given"
    )


class ForecastReply(BaseModel):
    """What the model computes ahead of a session, which stays as it is."""

    model: str
    version: str
    session: str
    step: int = Field(description="from which the forecast begins")
    seed: int | None = Field(None, description="only with several samples")
    forecasts: list[OneForecast] = Field(description="one for each sample")


def build() -> APIRouter:
    """A route that is documented and never called."""
    router = APIRouter(tags=["sessions"])

    @router.post(
        "/sessions/{session:path}/forecast",
        response_model=ForecastReply,
        responses=errors(*SEQUENCES, *LIVE_SESSION, *OF_FORECAST, has_body=True),
    )
    async def forecast(
        session: Annotated[str, Path(description="the session's name")],  # noqa: ARG001
        body: ForecastBody,  # noqa: ARG001
    ) -> None:
        """Run a model ahead of a session, on a copy of its state. The session does not move.

        A value that is not given is the model's own forecast of it, made one step before.
        """
        raise AssertionError(ANSWERED_BY_THE_GATE)

    return router
