"""What a reply says, whether it came as an HTTP response, as a frame of a stream, or through the client."""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from cellgate import Prediction, ResponseError
from tests.faults.wire import Message

RETRIED = {429, 502, 503, 504}  # nothing was applied, and the same request may succeed later
OK = 200
FRAME = struct.Struct("<HBxIq")  # channel, flags, rows, step
REPLAYED = 2  # flag of a frame


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply to one piece, or about one session."""

    status: int
    step: int = -1  # -1: it has none
    code: str = ""  # of an error
    outputs: tuple[bytes, ...] = ()  # of each step, [classes] float32
    form: str = ""  # what carried it: the same reply has other bytes in another form
    raw: bytes = b""  # without what differs between a reply and its repetition

    def __str__(self) -> str:
        return f"{self.status} {self.code} step {self.step} {self.raw[:200].decode(errors='replace')}"


def from_http(message: Message) -> Answer:
    """The answer in a response of `/predict`, `/v2` or `/sessions`."""
    if length := message.header("Inference-Header-Content-Length"):
        return _from_v2(message, int(length))
    document = orjson.loads(message.body)
    if "predictions" not in document:
        return _from_document(message.status, document, "http", message.body)
    prediction = document["predictions"][0]
    return Answer(OK, prediction["step"], "", _rows(prediction["output"]), "http", message.body)


def _from_v2(message: Message, length: int) -> Answer:
    head = orjson.loads(message.body[:length])
    first = head["outputs"][0]  # [1, time, classes]; further outputs follow it
    size = first["parameters"]["binary_data_size"]
    output = np.frombuffer(message.body[length : length + size], "<f4").reshape(first["shape"])[0]
    return Answer(OK, head["parameters"]["step"], "", _rows(output), "v2", message.body)


def from_json_frame(text: str) -> Answer:
    """The answer in a text message of a stream: a reply, or an error."""
    document = orjson.loads(text)
    if (problem := document.get("error")) is not None:
        return _from_document(problem["status"], problem, "json", text.encode())
    raw = text.encode().replace(b',"replayed":true', b"")
    return Answer(OK, document["step"], "", _rows(document["output"]), "json", raw)


def from_binary_frame(message: bytes) -> Answer:
    """The answer in a binary message of a stream."""
    channel, flags, rows, step = FRAME.unpack_from(message)
    numbers = message[FRAME.size :]
    output = np.frombuffer(numbers, "<f4").reshape(rows, -1)
    raw = FRAME.pack(channel, flags & ~REPLAYED, rows, step) + numbers
    return Answer(OK, step, "", _rows(output), "binary", raw)


def from_prediction(prediction: Prediction) -> Answer:
    """The answer that the client returned."""
    return Answer(
        OK, -1 if prediction.step is None else prediction.step, "", _rows(prediction.output), "client"
    )


def from_error(error: ResponseError) -> Answer:
    """The refusal that the client raised."""
    step = -1 if error.step is None else error.step
    return Answer(error.status, step, str(error.members.get("code")), (), "client", str(error).encode())


def _from_document(status: int, document: dict[str, Any], form: str, raw: bytes) -> Answer:
    step = document.get("step")
    return Answer(status, -1 if step is None else step, str(document.get("code")), (), form, raw)


def _rows(output: Any) -> tuple[bytes, ...]:
    return tuple(row.tobytes() for row in np.atleast_2d(np.asarray(output, "<f4")))
