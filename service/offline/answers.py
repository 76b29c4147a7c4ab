"""The answers of a block as bytes of the output: NDJSON here, tables in `tables`.

    {"id": "a", "output": [0.1, 0.9], "label": "3", "probability": 0.9}
    {"id": "b", "error": {"code": "non_finite", …}}

It knows outputs and keys; it knows nothing of files.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import orjson

from service.codec.reply import encode_prediction, encode_predictions
from service.manifest import OutputSpec
from service.offline.block import Answer, Answers, Keys


class Encoder(Protocol):
    """Writes answers in one format. It can be sent to another process."""

    suffix: str  # of the files that hold what it writes

    def names(self, spec: OutputSpec) -> list[str]:
        """What an answer has beside its key, which can have none of these names."""
        ...

    def head(self, spec: OutputSpec, key: str) -> bytes:
        """What the output begins with."""
        ...

    def encode(self, spec: OutputSpec, keys: Keys, answers: Answers) -> bytes:
        """The answers of one block, in order."""
        ...


class LineEncoder:
    """NDJSON: a line for each sequence, in the words of the reply of `/predict`."""

    suffix = ".ndjson"

    def __init__(self, *, by_name: bool = False) -> None:
        """`by_name`: forecasts and estimates also by the names of their columns."""
        self._by_name = by_name

    def names(self, spec: OutputSpec) -> list[str]:
        """See `Encoder.names`."""
        labels = ["labels"] if spec.kind == "labels" else ["label", "probability"]
        return ["output", "forecast", "estimate", *labels, "error"]

    def head(self, spec: OutputSpec, key: str) -> bytes:  # noqa: ARG002
        """Nothing."""
        return b""

    def encode(self, spec: OutputSpec, keys: Keys, answers: Answers) -> bytes:
        """A line each."""
        name = orjson.dumps(keys.name)
        if isinstance(answers, np.ndarray) and not self._by_name:
            rests = [encoded[1:] for encoded in encode_predictions(spec, answers)]
        else:
            rests = [self._rest(spec, answer) for answer in answers]
        return b"".join([
            b"%b%b\n" % (_start(name, key), rest) for key, rest in zip(keys.values, rests, strict=True)
        ])  # fmt: skip

    def _rest(self, spec: OutputSpec, answer: Answer) -> bytes:
        """The members of a JSON object, and its end."""
        if not isinstance(answer, Mapping):
            return encode_prediction(spec, answer, by_name=self._by_name)[1:]
        return b'"error":%b}' % orjson.dumps(answer)


def _start(name: bytes, key: object) -> bytes:
    return b"{" if key is None else b"{%b:%b," % (name, orjson.dumps(key, default=str))
