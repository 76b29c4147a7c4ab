"""Bodies of `/predict` and the models that they are decoded for: what several test files share."""

import json
from typing import Any

import pytest

from service.codec.request import Item, decode_item, parse
from service.errors import CellgateError
from service.manifest import Manifest


def manifest(*inputs: dict[str, Any], **fields: Any) -> Manifest:
    specs = inputs or ({"name": "x", "dims": [3]},)
    return Manifest.model_validate({"task": "label", "inputs": specs, "outputs": [{"name": "y"}]} | fields)


NUMBERS = manifest()
TOKENS = manifest({"name": "x", "kind": "token", "dtype": "int64", "vocabulary": ["a", "b", "c"]})
SIZED_TOKENS = manifest({"name": "x", "kind": "token", "dtype": "int64", "size": 20})
OPEN_TOKENS = manifest({"name": "x", "kind": "token", "dtype": "int32"})
SCALARS = manifest({"name": "x"})
IMAGES = manifest({"name": "x", "kind": "image", "dims": [2, 2]})
COUNTS = manifest({"name": "x", "dims": [2], "dtype": "int32"})
BYTES = manifest({"name": "x", "dims": [2], "dtype": "uint8"})
FLAGS = manifest({"name": "x", "dims": [2], "dtype": "bool"})
WINDOW = manifest({"name": "x"}, axes={"time_size": 3})
PIECES = manifest(
    {"name": "x"}, axes={"time_size": 3}, states=[{"input": "h", "output": "h_out", "shape": ["batch", 1]}]
)
SPEAKER = manifest({"name": "x", "dims": [2]}, {"name": "speaker", "dims": [2], "per": "sequence"})
HALVES = manifest({"name": "x", "dims": [1], "dtype": "float16"})
GAPS = manifest({"name": "x", "dims": [2], "missing": "nan"})
TWO = manifest({"name": "a", "dims": [2]}, {"name": "b", "kind": "token", "dtype": "int64"})
KINDS = manifest({"name": "x", "tensor": "kinds", "kind": "token", "dtype": "int64", "unknown": 0,
                  "vocabulary": ["<other>", "<missing>", "a"], "missing_token": 1})  # fmt: skip
CODES = manifest({"name": "x", "kind": "token", "dtype": "int64", "unknown": 0, "numbers": "tokens",
                  "vocabulary": ["<other>", "0", "1", "4", "2.5", "7", "7.0", "true"]})  # fmt: skip
ROW = [0.5, 1.0, 2.0]


def decode(body: bytes | dict[str, Any], model: Manifest = NUMBERS, index: int = 0) -> Item:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_item(parse(raw, max_sequences=4), index, model, max_steps=6)


def refusal(
    body: bytes | dict[str, Any], model: Manifest = NUMBERS, index: int = 0
) -> tuple[str, str | None]:
    """The code and the pointer of the error that the body raises."""
    with pytest.raises(CellgateError) as caught:
        decode(body, model, index)
    assert caught.value.status in (400, 422) and caught.value.detail
    return caught.value.code, caught.value.pointer


def one(steps: Any, **fields: Any) -> dict[str, Any]:
    return {"sequences": [{"steps": steps, **fields} if fields else steps]}
