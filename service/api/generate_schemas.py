"""Models that document what `/generate` reads and writes; its bodies are read by `codec`."""

from typing import Annotated

from fastapi.openapi.models import Example
from pydantic import BaseModel, Field, StrictInt

from service.api.schemas import ModelName, ModelVersion
from service.api.sequence_schemas import ReturnState, SessionFields, Text
from service.codec.generation import DEFAULT_STEPS, MAX_STOP_TOKENS, MAX_TEMPERATURE
from service.names import MAX_STEP


class GenerateBody(SessionFields):
    """A text that a language model continues."""

    model: ModelName = None
    version: ModelVersion = None
    prompt: Text | Annotated[list[StrictInt | str], Field(min_length=1)] = Field(
        description="a text, or tokens by id or name"
    )
    max_steps: int = Field(
        DEFAULT_STEPS, ge=1, le=MAX_STEP, description="the maximum number of tokens to generate"
    )
    temperature: float = Field(
        1.0,
        ge=0,
        le=MAX_TEMPERATURE,
        allow_inf_nan=False,
        description="below 1, likely tokens become likelier (more predictable); above 1, all tokens become "
        "more equal (more random); 0 always takes the likeliest token",
    )
    top_k: int | None = Field(
        None, ge=1, le=MAX_STEP, description="draw only from the k likeliest tokens; default: from all"
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_STEP,
        description="the same seed gives the same text; default: random, and part of the reply",
    )
    stop: list[StrictInt | str] = Field(
        default=[], max_length=MAX_STOP_TOKENS, description="tokens, by id or name, that end the text"
    )
    return_state: ReturnState = False


GENERATE_EXAMPLES: dict[str, Example] = {
    "a text": {
        "summary": "Continue a text",
        "value": {
            "model": "letters",
            "prompt": "the cat ",
            "max_steps": 40,
            "temperature": 0.7,
            "top_k": 10,
            "seed": 1,
        },
    },
    "a session": {
        "summary": "Continue within a session; a retry of the request gets the same text",
        "value": {"model": "letters", "prompt": "the cat ", "session": "story-1", "at": 0},
    },
}


class GenerateReply(BaseModel):
    """The generated text, without the prompt. It ends with a token of `stop`, if one was drawn."""

    model: str
    version: str
    ids: list[int]
    tokens: list[str] | None = Field(None, description="if the model has a vocabulary")
    text: str | None = Field(None, description="if the model has a tokenizer")
    seed: int
    session: str | None = None
    step: int | None = Field(None, description="the session's step: all prompts and generated tokens")
    state: str | None = Field(None, description="the token of the state after the text, if requested")
