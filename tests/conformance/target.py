"""The server under test: its model's metadata, and requests that fit it."""

import gzip
import json
import math
from dataclasses import dataclass
from typing import Any, Self

import httpx
import numpy as np
import orjson

DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1",
    "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
DATATYPES = {*DTYPES, "BYTES", "BF16"}
HEADER = "Inference-Header-Content-Length"
STEPS = 6  # of an axis of any size other than the first, the batch
TIMEOUT_S = 30
Json = Any


class NotOffered(Exception):
    """The server does not claim what a point is about; the message says what."""


class Unusable(Exception):
    """The server cannot be checked at all: it does not answer, or has no model that the suite can feed."""


@dataclass(frozen=True)
class Target:
    """A server, and the one of its models that is asked."""

    client: httpx.Client
    model: str
    metadata: Json
    extensions: frozenset[str]

    @classmethod
    def open(cls, url: str, model: str | None = None, key: str | None = None) -> Self:
        """Connect, and read the metadata. Raises Unusable."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        client = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S)
        try:
            name = model or _first_model(client)
            metadata = client.get(f"/v2/models/{name}")
            server = client.get("/v2")
        except httpx.HTTPError as error:
            client.close()
            raise Unusable(f"{url} does not answer: {error}") from error
        shown = _object(metadata)
        if metadata.status_code != 200 or not shown.get("inputs"):
            client.close()
            raise Unusable(f"no metadata with inputs of the model {name!r}: status {metadata.status_code}")
        return cls(client, name, shown, frozenset(_object(server).get("extensions") or ()))

    @property
    def path(self) -> str:
        """Of the model."""
        return f"/v2/models/{self.model}"

    def require(self, *extensions: str) -> None:
        """Raises NotOffered if the server lists none of the extensions."""
        if not self.extensions.intersection(extensions):
            raise NotOffered(f"GET /v2 does not list {' or '.join(extensions)}")

    def arrays(self, steps: int = STEPS, rows: int = 1) -> dict[str, np.ndarray[Any, Any]]:
        """A value for each input: [rows, …], with `steps` on other axes; where these may have any size."""
        random = np.random.default_rng(0)
        arrays = {}
        for spec in self.metadata["inputs"]:
            if spec["datatype"] not in DTYPES:
                raise Unusable(f"the suite has no values of datatype {spec['datatype']}")
            first, *others = spec["shape"]
            shape = [rows if first < 0 else first, *(steps if size < 0 else size for size in others)]
            values = random.integers(0, 2, shape) if spec["datatype"][0] != "F" else random.normal(size=shape)
            arrays[spec["name"]] = values.astype(DTYPES[spec["datatype"]])
        return arrays

    def tensors(self, arrays: dict[str, np.ndarray[Any, Any]], *, nested: bool = False) -> list[Json]:
        """The inputs in JSON; numbers flat, or in lists by axis."""
        return [
            self.head(name, array) | {"data": (array if nested else array.ravel()).tolist()}
            for name, array in arrays.items()
        ]

    def head(self, name: str, array: np.ndarray[Any, Any]) -> dict[str, Json]:
        """An input without its values."""
        (spec,) = (spec for spec in self.metadata["inputs"] if spec["name"] == name)
        return {"name": name, "shape": list(array.shape), "datatype": spec["datatype"]}

    def request(self, **fields: Json) -> dict[str, Json]:
        """A valid request with these fields."""
        return {"inputs": self.tensors(self.arrays())} | fields

    def post(self, body: Json, path: str | None = None, **headers: str) -> httpx.Response:
        """Send JSON, or bytes as they are, to the model's `infer`."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()  # orjson ends at 2^64
        sent = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        return self.client.post(path or f"{self.path}/infer", content=content, headers=sent)

    def infer(self, body: Json, **headers: str) -> Json:
        """The reply to a request that has to succeed."""
        response = self.post(body, **headers)
        assert response.status_code == 200, (
            f"a valid request gets {response.status_code}: {response.text[:200]}"
        )
        return _object(response)

    def outputs(self, body: Json, **headers: str) -> dict[str, np.ndarray[Any, Any]]:
        """The same, as arrays by name."""
        return {output["name"]: array_of(output) for output in self.infer(body, **headers)["outputs"]}

    def packed(self, arrays: dict[str, np.ndarray[Any, Any]], **fields: Json) -> tuple[bytes, int]:
        """A request with binary tensors, and the length of its JSON."""
        inputs = [
            self.head(name, array) | {"parameters": {"binary_data_size": array.nbytes}}
            for name, array in arrays.items()
        ]
        head = orjson.dumps({"inputs": inputs} | fields)
        return head + b"".join(array.tobytes() for array in arrays.values()), len(head)


def array_of(output: Json) -> np.ndarray[Any, Any]:
    """An output in JSON, as an array. Raises AssertionError if its sizes do not agree."""
    values = np.array(output["data"]).ravel()
    assert values.size == math.prod(output["shape"]), f"{values.size} numbers in the shape {output['shape']}"
    return values.reshape(output["shape"])


def error_of(response: httpx.Response) -> str:
    """The protocol's error. Raises AssertionError if the response has another form."""
    shown = _object(response)
    assert isinstance(shown.get("error"), str), (
        f"{response.status_code} without an error: {response.text[:100]}"
    )
    return str(shown["error"])


def gzipped(body: Json) -> bytes:
    """The JSON of a request, compressed."""
    return gzip.compress(orjson.dumps(body))


def _first_model(client: httpx.Client) -> str:
    index = client.post("/v2/repository/index", json={})
    try:
        return str(index.json()[0]["name"])
    except (ValueError, LookupError, TypeError) as error:
        raise Unusable("the server lists no models: set --model") from error


def _object(response: httpx.Response) -> dict[str, Json]:
    try:
        shown = response.json()
    except ValueError:
        return {}
    return shown if isinstance(shown, dict) else {}
