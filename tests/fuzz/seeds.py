"""Valid requests of each route, from which the mutated ones are made."""

import functools
import gzip
import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import Any

from service.repository import ModelFolders
from service.sessions import Binding, StateToken, StateTokens
from tests.committed import committed_models

SECRET = "0123456789abcdef0123456789abcdef"
KEYS = {"acme": "acme-secret", "beta": "beta-secret", "root": "root-secret"}  # root may steer versions
ROW = [round(0.1 * index - 0.5, 2) for index in range(12)]
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 2, 12]}
DATA = ROW + ROW
ORIGIN = "https://app.example.org"
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
STATES = [{"name": name, "dtype": "float32", "shape": [1, 128]} for name in ("h", "c")]


@dataclass(slots=True)
class Request:
    """One request; `framing` goes in the place of Content-Length."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    framing: str | None = None

    def raw(self) -> bytes:
        """As sent on a connection that is kept."""
        lines = {"Host": "x", "Authorization": f"Bearer {KEYS['acme']}"} | self.headers
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        length = f"Content-Length: {len(self.body)}" if self.framing is None else self.framing
        text = f"{self.method} {self.path} HTTP/1.1\r\n{head}{length}\r\n\r\n"
        return text.encode("latin-1", "replace") + self.body


def exported() -> bytes:
    """A session's file, by its documented layout; its graph is not the loaded one."""
    state = bytes(1024)
    header: dict[str, Any] = {
        "session": "f", "model": "vowels", "version": "1", "graph": "0" * 16, "tensors": STATES, "step": 2,
        "created_ms": 1, "ttl_ms": 1000, "at": 1, "digest": "0" * 32, "state_bytes": 1024, "reply_bytes": 4,
    }  # fmt: skip
    return seal(json.dumps(header).encode() + state + b"null", len(json.dumps(header)))


def seal(rest: bytes, length: int) -> bytes:
    """The file of a header of `length` bytes and what follows it, with a checksum that is right."""
    return struct.pack("<4sHI32s", b"CGSX", 1, length, hashlib.sha256(rest).digest()) + rest


def token() -> str:
    """A state of the committed model at step 2, as this server signs it."""
    return StateTokens([SECRET.encode()]).write("acme", StateToken(_binding(), 2, bytes(1024)))


@functools.cache
def _binding() -> Binding:
    return ModelFolders(committed_models()).get("vowels", "1").binding


def seeds() -> list[Request]:
    """At least one for each route and each form of body."""
    requests = [
        *[_json("POST", "/predict", body) for body in _predictions()],
        *[_json("POST", "/generate", body) for body in _generations()],
        *[_json("POST", "/v2/models/vowels/infer", body) for body in _inferences()],
        _json("PUT", "/sessions/p?replace=true", {"model": "vowels", "step": 3, "ttl_s": 50}),
        _json("PUT", "/sessions/q", {"model": "vowels", "state": {"h": [[0.5] * 128], "c": [[0] * 128]}}),
        _json("PATCH", "/sessions/p", {"ttl_s": 60}),
        _json("POST", "/sessions/p/fork", {"to": "r", "ttl_s": 9}),
        _json("POST", "/sessions/p/migrate", {"version": "1"}),
        Request("PUT", "/sessions/f/import?version=1&replace=true", exported()),
        *[
            Request("GET", path)
            for path in ("/sessions?limit=3&after=a&model=vowels", "/sessions/p?state=true")
        ],
        *[
            Request("GET", path)
            for path in ("/sessions/p/export", "/models/vowels", "/models", "/v2/models/vowels")
        ],
        *[
            Request("GET", path)
            for path in ("/v2", "/health/ready?sessions=false", "/v2/models/vowels/config")
        ],
        _json("POST", "/v2/repository/index", {}),
        Request(
            "GET", "/metrics", headers={"Accept": "application/openmetrics-text", "Accept-Encoding": "gzip"}
        ),
        Request("GET", "/v2/models/stats"),
        Request("GET", "/v2/models/vowels/versions/1/stats"),
        Request("GET", "/sessions/h", headers={"Origin": ORIGIN}),
        Request("OPTIONS", "/predict", headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}),
        Request("GET", "/stream", headers=dict(HANDSHAKE), framing="X-Body: none"),
        Request("DELETE", "/sessions/r"),
    ]
    return _rewinds() + requests + _steering() + _events() + _keyed() + _binary()


def _rewinds() -> list[Request]:
    kept = {"model": "vowels", "step": 3, "state": {"h": [[0.5] * 128], "c": [[0] * 128]}}
    return [
        _json("PUT", "/sessions/h?replace=true", kept | {"history": {"last": 3, "every": 2}}),
        _json("PATCH", "/sessions/h", {"history": {"last": 2}}),
        _json("POST", "/sessions/h/rewind", {"step": 3, "at": 3, "rewinds": 0}),
        _json("POST", "/sessions/h/forecast", {"horizon": 2, "inputs": [[0.1] * 12] * 2, "samples": 1}),
    ]


def _steering() -> list[Request]:
    """Of a model of their own, whose policy they leave as it is."""
    admin = {"Authorization": f"Bearer {KEYS['root']}", "Content-Type": "application/json"}
    policy = {"default": "1", "aliases": {"live": "1"}, "canary": {"version": "live", "weight": 0.5}}
    bodies = [("PUT", "policy", policy), ("POST", "promote", {"version": "1"})]
    return [
        Request("GET", "/models/steered/policy", headers=admin),
        *[
            Request(method, f"/models/steered/{route}", json.dumps(body).encode(), admin)
            for method, route, body in bodies
        ],
        Request("POST", "/v2/repository/models/steered/load", b"{}", admin),
    ]


def _events() -> list[Request]:
    """Answered in server-sent events."""
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    bodies = [
        ("/predict", {"model": "vowels", "sequences": [[ROW] * 5], "return": "all"}),
        ("/generate", {"model": "words", "prompt": "the cat", "max_steps": 3, "seed": 1}),
    ]
    return [Request("POST", path, json.dumps(body).encode(), dict(headers)) for path, body in bodies]


def _keyed() -> list[Request]:
    """With the headers that change how a reply is kept or sent."""
    body = {"model": "vowels", "sequences": [[ROW] * 40], "return": "all"}
    keyed = _json("POST", "/predict", body)
    keyed.headers |= {"Idempotency-Key": '"k-1"', "Accept-Encoding": "gzip;q=0.5, deflate", "Origin": ORIGIN}
    return [keyed]


def _json(method: str, path: str, body: Any) -> Request:
    return Request(method, path, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _predictions() -> list[Any]:
    step = {"steps": [ROW], "session": "s", "at": 0, "end": False}
    return [
        {"model": "vowels", "sequences": [[ROW]]},
        {"model": "vowels", "version": "1", "sequences": [[ROW, ROW], {"steps": [ROW]}], "return": "all"},
        {"model": "vowels", "sequences": [step]},
        {"model": "vowels", "sequences": [step | {"session": "t", "end": True}, [ROW] * 9, [ROW] * 30]},
        {"model": "vowels", "sequences": [[ROW]], "outputs": ["logits", "y"], "trim_padding": True},
        {"model": "vowels", "sequences": [{"steps": [ROW], "state": token()}], "return_state": True},
        {"model": "vowels", "sequences": [step | {"session": "u", "state": token(), "at": 2}, [ROW]]},
        {"model": "words", "sequences": [{"text": "the cat"}, ["t", 1, "d"], [0, 1]], "return": "all"},
        {"model": "words", "sequences": [{"steps": {"x": [1, 2]}, "session": "w"}]},
    ]


def _generations() -> list[Any]:
    return [
        {"model": "words", "prompt": "the cat", "max_steps": 3, "seed": 1, "temperature": 0.5, "top_k": 3},
        {"model": "words", "prompt": ["t", 1], "max_steps": 2, "stop": ["."], "session": "g", "end": True},
    ]  # fmt: skip


def _inferences() -> list[Any]:
    lengths = {"name": "lengths", "datatype": "INT32", "shape": [1], "data": [1]}
    started = {"sequence_id": "v", "sequence_start": True, "restart": True, "at": 0}
    return [
        {"inputs": [TENSOR | {"data": DATA}, lengths], "id": "1", "outputs": [{"name": "y"}]},
        {"inputs": [TENSOR | {"data": [[ROW, ROW]]}], "parameters": started},
        {"inputs": [TENSOR | {"data": DATA}], "parameters": started | {"sequence_id": 7, "return": "last"}},
        {"inputs": [TENSOR | {"data": DATA}], "parameters": {"timeout": 2**40, "binary_data_output": True}},
    ]


def _binary() -> list[Request]:
    numbers = struct.pack("<24f", *DATA)
    described = {"inputs": [TENSOR | {"parameters": {"binary_data_size": len(numbers)}}],
                 "parameters": {"binary_data_output": True}}  # fmt: skip
    head = json.dumps(described).encode()
    path, kind = "/v2/models/vowels/versions/1/infer", {"Content-Type": "application/octet-stream"}
    name = "Inference-Header-Content-Length"
    packed = gzip.compress(json.dumps(_inferences()[0]).encode(), mtime=0)
    return [
        Request("POST", path, head + numbers, kind | {name: str(len(head))}),
        Request("POST", path, numbers, kind | {name: "0"}),
        Request("POST", path, packed, {"Content-Type": "application/json", "Content-Encoding": "gzip"}),
    ]
