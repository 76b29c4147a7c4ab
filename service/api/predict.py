"""The documentation of `POST /predict` and `POST /generate`, which the gate answers without FastAPI."""

from typing import Annotated

from fastapi import APIRouter, Body, Header

from service.api.errors import MODEL, SEQUENCES, STEPS, errors
from service.api.predict_schemas import (
    GENERATE_EXAMPLES,
    PREDICT_EXAMPLES,
    GenerateBody,
    GenerateReply,
    PredictBody,
    PredictReply,
)
from service.errors import GenerationNotSupported, IdempotencyInProgress, IdempotencyMismatch

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="for a request without a session: sent again with the same key and body, it gets the "
        "stored reply, with `Idempotent-Replayed: true`",
        max_length=257,
    ),
]
KEYED = (IdempotencyInProgress, IdempotencyMismatch)
ANSWERED_BY_THE_GATE = "the gate answers this route"


def build() -> APIRouter:
    """Routes that are documented and never called."""
    router = APIRouter(tags=["prediction"])

    @router.post(
        "/predict",
        response_model=PredictReply,
        responses=errors(*SEQUENCES, *MODEL, *STEPS, *KEYED, has_body=True),
    )
    async def predict(
        body: Annotated[PredictBody, Body(openapi_examples=PREDICT_EXAMPLES)],  # noqa: ARG001
        idempotency_key: IdempotencyKey = None,  # noqa: ARG001
    ) -> None:
        """Predict from sequences of any lengths. Each is stateless, or the next part of a session.

        One bad sequence among many does not fail the others: its entry is `{"error": …}`.
        An error in a request with a single sequence is the response's HTTP status.
        """
        raise AssertionError(ANSWERED_BY_THE_GATE)

    @router.post(
        "/generate",
        response_model=GenerateReply,
        responses=errors(*SEQUENCES, *MODEL, *STEPS, *KEYED, GenerationNotSupported, has_body=True),
    )
    async def generate(
        body: Annotated[GenerateBody, Body(openapi_examples=GENERATE_EXAMPLES)],  # noqa: ARG001
        idempotency_key: IdempotencyKey = None,  # noqa: ARG001
    ) -> None:
        """Continue a prompt with a language model, token by token, stateless or within a session.

        The same seed gives the same text. In a session, prompt and generated tokens all count as steps.
        """
        raise AssertionError(ANSWERED_BY_THE_GATE)

    return router
