"""A client of event streams: it puts events together again, as docs/sse.md says."""

from collections.abc import Iterable
from typing import Any

import orjson

LISTS = ("gates", "output", "outputs", "label", "probability", "ids", "tokens", "text")


def joined(events: Iterable[tuple[str, bytes]]) -> dict[str, Any]:
    """The one-shot reply of `/predict` or `/generate` that the events, of name and data, amount to."""
    whole: dict[str, Any] = {}
    num_rows = 0
    for name, written in events:
        data = orjson.loads(written)
        if name == "end":
            reply: dict[str, Any] = data
            if "predictions" in reply:
                _keep_last(reply["predictions"][0], whole)
            else:
                assert {field: reply[field] for field in whole} == whole
            return reply
        assert name in ("steps", "token"), data
        assert data["start"] == num_rows
        for field in LISTS:
            if field in data:
                _append(whole, field, data[field])
        num_rows += len(_rows_of(data))
    raise AssertionError("no event `end`")


def _append(whole: dict[str, Any], field: str, value: Any) -> None:
    if field == "gates":
        for number, gate in enumerate(value):
            whole.setdefault(field, [dict(each, values=[]) for each in value])[number]["values"] += gate[
                "values"
            ]
    elif isinstance(value, dict):
        for name, rows in value.items():
            _append(whole.setdefault(field, {}), name, rows)
    else:
        whole[field] = whole[field] + value if field in whole else value


def _rows_of(data: dict[str, Any]) -> Any:
    if "outputs" in data:
        return next(iter(data["outputs"].values()))
    return data["output"] if "output" in data else data["ids"]


def _keep_last(prediction: dict[str, Any], whole: dict[str, Any]) -> None:
    """The last step is that of the rows; of outputs that exist for it only, the event `end` has them."""
    for field, rows in whole.items():
        if field == "gates":
            for gate, each in zip(prediction[field], rows, strict=True):
                assert gate == each | {"values": each["values"][-1]}
            prediction[field] = rows
        elif isinstance(rows, dict):
            _keep_last(prediction[field], rows)
        else:
            assert prediction[field] == rows[-1]
            prediction[field] = rows
