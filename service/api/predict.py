"""The documentation of the routes of inference that the gate answers without FastAPI."""

from typing import Annotated

from fastapi import APIRouter, Body, Header

from service.api import event_samples
from service.api.errors import MODEL, SEQUENCES, STEPS, errors
from service.api.generate_schemas import GENERATE_EXAMPLES, GenerateBody, GenerateReply
from service.api.predict_schemas import PREDICT_EXAMPLES, PredictBody, PredictReply
from service.errors import (
    EmptySequence,
    EventMismatch,
    GatesNotSupported,
    GenerationNotSupported,
    IdempotencyInProgress,
    IdempotencyMismatch,
    InvalidField,
    InvalidState,
    NonFinite,
    SequenceTooLong,
    SessionExists,
    SessionGone,
    SessionNotSupported,
    StateMismatch,
    StateSecretMissing,
    TooManySequences,
    UnknownModel,
    UnknownState,
    UnknownVersion,
    WrongShape,
)
from service.names import IDEMPOTENCY_KEY

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="for a request without a session: sent again with the same key and body, it gets the "
        "stored reply, with `Idempotent-Replayed: true`",
        pattern=f"^({IDEMPOTENCY_KEY.pattern})$",
    ),
]
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="with `Accept: text/event-stream`: the id of the last event received of the same "
        "request; the events after it are sent",
        max_length=64,
    ),
]
KEYED = (IdempotencyInProgress, IdempotencyMismatch, EventMismatch)
STATES = (InvalidState, StateMismatch, StateSecretMissing, UnknownState, SessionExists)
GONE = SessionGone(
    "the session expired at step 145; to start it again, send at: 0",
    members={"reason": "expired", "step": 145},
)
OF_PREDICT = (
    GONE,
    UnknownModel("no model 'vowel'; there are vowels", pointer="/model"),
    UnknownVersion("no version '7' of vowels; there are 1", pointer="/version"),
    InvalidField("unknown field 'modell'", pointer="/modell"),
    WrongShape("expected 12 numbers, got 11", pointer="/sequences/0/steps/7"),
    NonFinite("1e+39 does not fit into float32", pointer="/sequences/0/steps/7/2"),
    EmptySequence("a sequence needs at least one time step", pointer="/sequences/0/steps"),
    SequenceTooLong("20001 time steps, the maximum is 20000", pointer="/sequences/0/steps"),
    TooManySequences("2000 sequences, the maximum per request is 1024", pointer="/sequences"),
    SessionNotSupported("vowels reads each sequence from both ends", pointer="/sequences/0/session"),
    GatesNotSupported(
        "the model shows no gates; cellgate-train export --trace adds them to a graph", pointer="/return/2"
    ),
)
OF_GENERATE = (
    GONE,
    GenerationNotSupported("the model's task is classify, not language", pointer="/model"),
    SequenceTooLong(
        "10 steps of the prompt and 20000 to generate, the maximum is 20000", pointer="/max_steps"
    ),
)
ANSWERED_BY_THE_GATE = "the gate answers this route"


def build() -> APIRouter:
    """Routes that are documented and never called."""
    router = APIRouter(tags=["prediction"])

    @router.post(
        "/predict",
        response_model=PredictReply,
        responses=event_samples.response(event_samples.PREDICT_EVENTS)
        | errors(*SEQUENCES, *MODEL, *STEPS, *STATES, *KEYED, *OF_PREDICT, has_body=True),
    )
    async def predict(
        body: Annotated[PredictBody, Body(openapi_examples=PREDICT_EXAMPLES)],  # noqa: ARG001
        idempotency_key: IdempotencyKey = None,  # noqa: ARG001
        last_event_id: LastEventId = None,  # noqa: ARG001
    ) -> None:
        """Predict from sequences of any lengths. Each is stateless, or the next part of a session.

        One bad sequence among many does not fail the others: its entry is `{"error": …}`.
        An error in a request with a single sequence is the response's HTTP status.

        With `Accept: text/event-stream` and `return: all`, the output of one sequence comes step by step, in
        server-sent events, while it is computed.
        """
        raise AssertionError(ANSWERED_BY_THE_GATE)

    @router.post(
        "/generate",
        response_model=GenerateReply,
        responses=event_samples.response(event_samples.GENERATE_EVENTS)
        | errors(*SEQUENCES, *MODEL, *STEPS, *STATES, *KEYED, *OF_GENERATE, has_body=True),
    )
    async def generate(
        body: Annotated[GenerateBody, Body(openapi_examples=GENERATE_EXAMPLES)],  # noqa: ARG001
        idempotency_key: IdempotencyKey = None,  # noqa: ARG001
        last_event_id: LastEventId = None,  # noqa: ARG001
    ) -> None:
        """Continue a prompt with a language model, token by token, stateless or within a session.

        The same seed gives the same text. In a session, prompt and generated tokens all count as steps.

        With `Accept: text/event-stream`, each token is a server-sent event, sent when it is drawn.
        """
        raise AssertionError(ANSWERED_BY_THE_GATE)

    return router
