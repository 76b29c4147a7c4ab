"""The form of the fake server's answers, and how it reads steps."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np

from cellgate.errors import InvalidField, ResponseError, WrongShape
from cellgate.testing.fake_model import FakeModel


def read_steps(steps: Any, model: FakeModel) -> np.ndarray[Any, Any]:
    """[time, *dims] in the model's dtype. Raises InvalidField or WrongShape."""
    if isinstance(steps, dict):
        steps = next(iter(steps.values()))
    if isinstance(steps, str):
        steps = [ord(character) for character in steps]
    try:
        x = np.asarray(steps, model.dtype)
    except (TypeError, ValueError) as error:
        raise InvalidField(f"expected numbers: {error}", status=422) from error
    if x.ndim != 1 + len(model.dims) or x.shape[1:] != model.dims or not len(x):
        raise WrongShape(
            f"expected [time, {', '.join(map(str, model.dims))}], got {list(x.shape)}", status=422
        )
    return x


def keeps_all_steps(returned: Any) -> bool:
    """Whether "return" asks for every step. Raises InvalidField for a list: a fake model has only outputs."""
    if isinstance(returned, list):
        raise InvalidField(
            "the fake server returns outputs alone", status=422, members={"pointer": "/return"}
        )
    return bool(returned == "all")


def prediction(model: FakeModel, y: np.ndarray[Any, Any], keeps_all: bool) -> dict[str, Any]:
    """The entry of a reply for y [time, *dims]."""
    shown = y if keeps_all else y[-1]
    entry: dict[str, Any] = {"output": shown.tolist()}
    if model.labels and not keeps_all:
        entry |= {"label": model.labels[int(shown.argmax())], "probability": float(shown.max())}
    return entry


def document(error: ResponseError) -> dict[str, Any]:
    """The problem document (RFC 9457) of an error."""
    return {
        "type": "about:blank",
        "title": type(error).__name__,
        "status": error.status,
        "code": error.code,
    } | {
        "detail": error.detail,
        **error.members,
    }


def problem(error: ResponseError, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """The response of an error."""
    content = json.dumps(document(error)).encode()
    return httpx.Response(
        error.status,
        content=content,
        headers={"content-type": "application/problem+json"} | dict(headers or {}),
    )


def refusal(status: int, code: str, *, retry_after_s: int | None = None) -> httpx.Response:
    """A response of a fault."""
    error = ResponseError.by_code()[code](f"fault: {code}", status=status)
    return problem(error, {} if retry_after_s is None else {"retry-after": str(retry_after_s)})
