"""Points C: health, metadata, and inference in JSON."""

import gzip
from collections.abc import Callable

import httpx
import numpy as np

from tests.conformance.target import DATATYPES, NotOffered, Target, array_of, error_of, gzipped

Check = Callable[[Target], None]
NO_MODEL = "no-such-model"
MANY_ROWS = 200  # whose reply is large


def live(target: Target) -> None:
    assert target.client.get("/v2/health/live").status_code == 200


def ready(target: Target) -> None:
    assert target.client.get("/v2/health/ready").status_code == 200


def model_ready(target: Target) -> None:
    assert target.client.get(f"{target.path}/ready").status_code == 200
    for version in target.metadata.get("versions") or ():
        assert target.client.get(f"{target.path}/versions/{version}/ready").status_code == 200, version
    assert target.client.get(f"/v2/models/{NO_MODEL}/ready").status_code != 200, "an unknown model is ready"


def server_metadata(target: Target) -> None:
    for path in ("/v2", "/v2/"):
        response = target.client.get(path, follow_redirects=True)
        assert response.status_code == 200, f"GET {path} is {response.status_code}"
        shown = response.json()
        assert isinstance(shown["name"], str) and isinstance(shown["version"], str)
        assert all(isinstance(extension, str) for extension in shown["extensions"])


def model_metadata(target: Target) -> None:
    versions = target.metadata.get("versions") or []
    paths = [target.path, *(f"{target.path}/versions/{version}" for version in versions)]
    for path in paths:
        shown = target.client.get(path).json()
        assert shown["name"] == target.model
        assert isinstance(shown["platform"], str) and shown["platform"], "there is no platform"
        for tensor in (*shown["inputs"], *shown["outputs"]):
            assert isinstance(tensor["name"], str) and tensor["datatype"] in DATATYPES, tensor
            assert all(type(size) is int and size >= -1 for size in tensor["shape"]), tensor


def flat_and_nested(target: Target) -> None:
    arrays = target.arrays()
    flat = target.outputs({"inputs": target.tensors(arrays)})
    nested = target.outputs({"inputs": target.tensors(arrays, nested=True)})
    for name, values in flat.items():
        np.testing.assert_array_equal(values, nested[name])


def reply(target: Target) -> None:
    shown = target.infer(target.request())
    assert shown["model_name"] == target.model and shown["outputs"]
    for output in shown["outputs"]:
        assert output["datatype"] in DATATYPES and isinstance(output["name"], str)
        array_of(output)


def id_is_echoed(target: Target) -> None:
    assert target.infer(target.request(id="a-1"))["id"] == "a-1"


def id_is_not_invented(target: Target) -> None:
    assert "id" not in target.infer(target.request()), "there is an id although the request has none"


def outputs_are_chosen(target: Target) -> None:
    names = [tensor["name"] for tensor in target.metadata["outputs"]]
    assert {output["name"] for output in target.infer(target.request())["outputs"]} == set(names)
    for name in names:
        shown = target.infer(target.request(outputs=[{"name": name}]))
        assert [output["name"] for output in shown["outputs"]] == [name]


def errors_are_json(target: Target) -> None:
    client = target.client
    for response in (
        client.get("/v2/nowhere"),
        client.get(f"/v2/models/{NO_MODEL}"),
        client.get(f"{target.path}/infer"),
        client.delete("/v2/health/live"),
        target.post(b"{nope"),
        target.post({}),
        target.post(target.request(), f"/v2/models/{NO_MODEL}/infer"),
    ):
        assert response.status_code != 200, response.request.url
        error_of(response)


def _refused(target: Target, body: object) -> None:
    response = target.post(body)
    assert response.status_code == 400, f"{response.status_code} instead of 400"
    error_of(response)


def malformed(target: Target) -> None:
    for body in (b"{nope", b"[]", b"1", b"", b"\xff"):
        _refused(target, body)


def missing_fields(target: Target) -> None:
    for field in ("name", "shape", "datatype", "data"):
        first, *others = target.request()["inputs"]
        _refused(target, {"inputs": [{k: v for k, v in first.items() if k != field}, *others]})


def unknown_tensors(target: Target) -> None:
    first, *others = target.request()["inputs"]
    _refused(target, {"inputs": [first | {"name": "no_such_input"}, *others]})
    _refused(target, target.request(outputs=[{"name": "no_such_output"}]))


def wrong_tensors(target: Target) -> None:
    first, *others = target.request()["inputs"]
    shape = first["shape"]
    for fields in (
        {"datatype": "FP99"},
        {"shape": [*shape[:-1], shape[-1] + 1]},
        {"shape": [-size for size in shape[:1]] + shape[1:]},
        {"data": first["data"][:-1]},
        {"data": ["text" for _ in first["data"]]},
    ):
        _refused(target, {"inputs": [first | fields, *others]})


def unknown_model(target: Target) -> None:
    for path in (f"/v2/models/{NO_MODEL}", f"{target.path}/versions/987654321"):
        assert target.client.get(path).status_code == 404, f"GET {path}"
        assert target.post(target.request(), f"{path}/infer").status_code == 404, f"POST {path}/infer"


def verbs(target: Target) -> None:
    for method, path in (("POST", "/v2/health/live"), ("POST", target.path), ("GET", f"{target.path}/infer")):
        response = target.client.request(method, path)
        assert response.status_code == 405, f"{method} {path} is {response.status_code}"


def unknown_parameters(target: Target) -> None:
    first, *others = target.request()["inputs"]
    inputs = [first | {"parameters": {"x_unknown": "a"}}, *others]
    target.infer({"inputs": inputs, "parameters": {"x_unknown": 1, "x_other": True}})


def compressed_requests(target: Target) -> None:
    response = target.post(gzipped(target.request()), content_encoding="gzip")
    if response.status_code in (415, 501):
        raise NotOffered(f"gzip is refused with {response.status_code}")
    assert response.status_code == 200, f"{response.status_code}: {response.text[:100]}"


def compressed_responses(target: Target) -> None:
    many = {"inputs": target.tensors(target.arrays(rows=MANY_ROWS))}
    with target.client.stream(
        "POST", f"{target.path}/infer", json=many, headers={"accept-encoding": "gzip"}
    ) as response:
        raw = b"".join(response.iter_raw())
    if "content-encoding" not in response.headers:
        raise NotOffered("a reply of this size is not compressed")
    plain = httpx.Response(200, content=gzip.decompress(raw)).json()
    assert plain["outputs"] == target.infer(many, accept_encoding="identity")["outputs"]


POINTS: tuple[tuple[str, str, Check], ...] = (
    ("C1", "GET /v2/health/live is 200", live),
    ("C2", "GET /v2/health/ready is 200", ready),
    ("C3", "GET of a model's ready is 200, of an unknown model's is not", model_ready),
    ("C4", "GET /v2 and /v2/ have name, version, extensions", server_metadata),
    ("C5", "a model's metadata has name, platform, inputs and outputs", model_metadata),
    ("C6", "data is accepted flat and nested", flat_and_nested),
    ("C7a", "a reply has the model's name and outputs whose sizes agree", reply),
    ("C7b", "the request's id comes back", id_is_echoed),
    ("C7c", "a request without an id gets none", id_is_not_invented),
    ("C7d", "outputs selects the outputs; without it, all come", outputs_are_chosen),
    ("C9", "every error is JSON with a string error", errors_are_json),
    ("C10a", "what is not a JSON object is 400", malformed),
    ("C10b", "a tensor without name, shape, datatype or data is 400", missing_fields),
    ("C10c", "an unknown input or output is 400", unknown_tensors),
    ("C10d", "a wrong datatype, shape or number of values is 400", wrong_tensors),
    ("C10e", "an unknown model or version is 404", unknown_model),
    ("C11", "other methods are 405", verbs),
    ("C12", "unknown parameters are ignored", unknown_parameters),
    ("C13a", "requests may be compressed with gzip", compressed_requests),
    ("C13b", "replies are compressed for clients that accept it", compressed_responses),
)
