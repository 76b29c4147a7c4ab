"""How event streams are documented: the responses with status 200, with a sample of each route."""

from typing import Any

import orjson

from service.api.samples import BY_SCHEMA, PROBABILITIES


def _event(name: str, event_id: str, **members: Any) -> str:
    return f"event: {name}\nid: {event_id}\ndata: {orjson.dumps(members).decode()}\n\n"


_ROW: dict[str, Any] = {"output": [PROBABILITIES], "label": ["3"], "probability": [0.9982]}
_LAST: dict[str, Any] = {"output": PROBABILITIES, "label": "3", "probability": 0.9982}
_TEXT = BY_SCHEMA["GenerateReply"]

PREDICT_EVENTS = "".join(
    (
        _event("steps", "0.1.-.34d68b44", start=0, **_ROW),
        _event("steps", "0.2.-.e752c538", start=1, **_ROW),
        _event(
            "end", "end", model="vowels", version="1", predictions=[_LAST | {"session": "call-42", "step": 2}]
        ),
    )
)
GENERATE_EVENTS = "".join(
    (
        *(
            _event(
                "token",
                f"8.{place + 1}.1.a9d5cf{place:02x}",
                start=place,
                ids=[token],
                tokens=[name],
                text=name,
            )
            for place, (token, name) in enumerate(zip(_TEXT["ids"], _TEXT["tokens"], strict=True))
        ),
        _event("end", "end", **_TEXT),
    )
)


def response(sample: str) -> dict[int | str, dict[str, Any]]:
    """What FastAPI adds to a route's response with status 200."""
    content = {"schema": {"type": "string"}, "example": sample}
    description = "The reply; with `Accept: text/event-stream`, as server-sent events (docs/sse.md)."
    return {200: {"description": description, "content": {"text/event-stream": content}}}
