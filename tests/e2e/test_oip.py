"""The Open Inference Protocol on a real server: with Triton's client, and with plain HTTP for errors."""

import itertools
import json
import time
import uuid
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from service.sequence import Array
from tests.e2e.conftest import first, predict
from tests.e2e.server import START_S, Server, running

INFER = "/v2/models/vowels/infer"
ROW = [0.1] * 12


@pytest.fixture
def triton_client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url.removeprefix("http://"), network_timeout=30) as opened:
        yield opened


@pytest.fixture
def x(utterance: list[list[float]]) -> Array:
    """[1, time, 12]."""
    return np.array([utterance], np.float32)


def input_of(array: Array, name: str = "x", *, binary: bool = True) -> triton.InferInput:
    datatype = "INT32" if array.dtype == np.int32 else "FP32"
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def requested(*, binary: bool) -> list[triton.InferRequestedOutput]:
    return [triton.InferRequestedOutput("y", binary_data=binary)]


def body(data: Any, **parameters: Any) -> dict[str, Any]:
    steps = len(data)
    tensor = {
        "name": "x",
        "datatype": "FP32",
        "shape": [1, steps, 12],
        "data": [v for row in data for v in row],
    }
    return {"inputs": [tensor], "parameters": parameters}


def y_of(response: httpx.Response) -> Array:
    """The output of a JSON answer, [batch, time, 9]."""
    assert response.status_code == 200, response.text
    output = response.json()["outputs"][0]
    return np.array(output["data"], np.float32).reshape(output["shape"])


def test_the_triton_client_reads_server_and_model_metadata(
    triton_client: triton.InferenceServerClient,
) -> None:
    assert triton_client.is_server_live() and triton_client.is_server_ready()
    assert triton_client.is_model_ready("vowels") and triton_client.is_model_ready("vowels", "1")
    assert not triton_client.is_model_ready("nope")
    server = triton_client.get_server_metadata()
    assert server["name"] == "cellgate" and {"sequence", "binary_tensor_data"} <= set(server["extensions"])
    model = triton_client.get_model_metadata("vowels")
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1, 12]}]
    assert [(output["name"], output["shape"]) for output in model["outputs"]] == [
        ("y", [-1, -1, 9]),
        ("logits", [-1, -1, 9]),
    ]
    assert model["versions"] == ["1"]
    config = triton_client.get_model_config("vowels")
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 12]}]
    assert config["max_batch_size"] > 0 and "sequence_batching" in config
    assert triton_client.get_model_repository_index()[0]["name"] == "vowels"


def test_the_triton_client_reads_the_statistics_of_all_workers(
    triton_client: triton.InferenceServerClient, server: Server, x: Array
) -> None:
    def stats(version: str = "") -> dict[str, Any]:
        (found,) = triton_client.get_inference_statistics("vowels", version)["model_stats"]
        shown: dict[str, Any] = found
        return shown

    before = stats()
    for _ in range(4):  # each over a new connection, which the kernel gives to any worker
        body = {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}]
        }
        httpx.post(f"{server.url}/v2/models/vowels/infer", json=body, timeout=60).raise_for_status()
    body["inputs"][0]["shape"] = [1, 1, 11]
    assert httpx.post(f"{server.url}/v2/models/vowels/infer", json=body, timeout=60).status_code == 400
    deadline = time.monotonic() + START_S  # until the other worker has written its numbers
    while (after := stats("1"))["inference_stats"]["success"]["count"] < (
        before["inference_stats"]["success"]["count"] + 4
    ) or after["execution_count"] == before["execution_count"]:
        assert time.monotonic() < deadline, after
        time.sleep(0.1)
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]
    assert after["inference_count"] >= before["inference_count"] + 4
    assert after["last_inference"] > 1.6e12, "milliseconds"
    assert sum(each["compute_infer"]["count"] for each in after["batch_stats"]) == after["execution_count"]
    assert {"queue", "compute_input", "compute_infer", "compute_output"} <= set(after["inference_stats"])
    assert [each["name"] for each in triton_client.get_inference_statistics()["model_stats"]] == ["vowels"]
    with pytest.raises(InferenceServerException):
        triton_client.get_inference_statistics("nope")


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_the_triton_client_gets_the_same_bits_as_predict(
    triton_client: triton.InferenceServerClient,
    client: httpx.Client,
    x: Array,
    compression: str | None,
    binary_in: bool,
    binary_out: bool,
) -> None:
    expected = client.post("/predict", json={"sequences": [x[0].tolist()], "return": "all"}).json()
    answer = triton_client.infer(
        "vowels",
        [input_of(x, binary=binary_in)],
        outputs=requested(binary=binary_out),
        request_id="r-1",
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    y = answer.as_numpy("y")
    assert y.tobytes() == np.array([expected["predictions"][0]["output"]], np.float32).tobytes()
    head = answer.get_response()
    assert (head["model_name"], head["model_version"], head["id"]) == ("vowels", "1", "r-1")


def test_rows_of_a_ragged_batch_are_separate_sequences(
    triton_client: triton.InferenceServerClient, client: httpx.Client, x: Array
) -> None:
    total = x.shape[1]
    lengths = np.array([total, 1, total // 2, 3], np.int32)
    batch = np.repeat(x, len(lengths), axis=0)
    for row, length in enumerate(lengths):
        batch[row, length:] = np.nan  # values after a row's length are ignored
    y = triton_client.infer("vowels", [input_of(batch), input_of(lengths, "lengths")]).as_numpy("y")
    assert y.shape == (len(lengths), total, 9)
    for row, length in enumerate(lengths):
        alone = triton_client.infer("vowels", [input_of(x[:, :length])]).as_numpy("y")
        assert y[row, :length].tobytes() == alone[0].tobytes()
        assert not y[row, length:].any()
    request = {
        "parameters": {"return": "last"},
        "inputs": [
            {
                "name": "x",
                "datatype": "FP32",
                "shape": list(batch.shape),
                "data": np.nan_to_num(batch).tolist(),
            },
            {"name": "lengths", "datatype": "INT32", "shape": [4], "data": lengths.tolist()},
        ],
    }
    last = y_of(client.post(INFER, json=request))
    assert last.tobytes() == np.stack([y[r, n - 1 : n] for r, n in enumerate(lengths)]).tobytes()


@given(data=st.data())
def test_a_sequence_in_any_pieces_gives_the_bits_of_one_request(
    triton_client: triton.InferenceServerClient, x: Array, data: st.DataObject
) -> None:
    total = x.shape[1]
    cuts = sorted(data.draw(st.sets(st.integers(1, total - 1), max_size=4)))
    name = data.draw(st.sampled_from([uuid.uuid4().hex, int(uuid.uuid4()) % 2**64 or 1]))
    edges = [0, *cuts, total]
    pieces = [
        triton_client.infer(
            "vowels",
            [input_of(x[:, start:stop])],
            sequence_id=name,
            sequence_start=start == 0,
            sequence_end=stop == total,
        ).as_numpy("y")
        for start, stop in itertools.pairwise(edges)
    ]
    whole = triton_client.infer("vowels", [input_of(x)]).as_numpy("y")
    assert np.concatenate(pieces, axis=1).tobytes() == whole.tobytes()


@pytest.mark.promise(2)
def test_a_retry_gets_the_same_numbers_and_takes_no_step(
    client: httpx.Client, session: str, x: Array
) -> None:
    steps = x[0].tolist()
    start = body(steps[:2], sequence_id=session, sequence_start=True, at=0)
    first_answer = client.post(INFER, json=start)
    again = client.post(INFER, json=start)
    assert again.content == first_answer.content
    assert first_answer.json()["parameters"] == {"sequence_id": session, "step": 2}
    second = body(steps[2:4], sequence_id=session, at=2)
    reply = client.post(INFER, json=second)
    assert (
        client.post(INFER, json=second).content == reply.content and reply.json()["parameters"]["step"] == 4
    )
    assert y_of(reply).tobytes() == y_of(client.post(INFER, json=body(steps[:4])))[:, 2:].tobytes()
    stale = client.post(INFER, json=body(steps[:2], sequence_id=session, at=1))
    assert stale.status_code == 409
    assert stale.json()["code"] == "session_conflict" and stale.json()["step"] == 4


def test_a_second_start_needs_restart(client: httpx.Client, session: str) -> None:
    start = {"sequence_id": session, "sequence_start": True}
    assert client.post(INFER, json=body([ROW], **start)).json()["parameters"]["step"] == 1
    twice = client.post(INFER, json=body([ROW, ROW], **start))
    assert twice.status_code == 409 and twice.json()["code"] == "session_exists"
    restarted = client.post(INFER, json=body([ROW, ROW], **start, restart=True))
    assert restarted.json()["parameters"]["step"] == 2


def test_a_sequence_that_was_not_started_is_unknown(client: httpx.Client, session: str) -> None:
    unknown = client.post(INFER, json=body([ROW], sequence_id=session))
    assert unknown.status_code == 404 and unknown.json()["code"] == "unknown_session"
    one = {"sequence_id": session, "sequence_start": True, "sequence_end": True}
    assert client.post(INFER, json=body([ROW], **one)).status_code == 200
    ended = client.post(INFER, json=body([ROW], sequence_id=session))
    assert ended.status_code == 410 and ended.json()["code"] == "session_gone"
    assert client.post(INFER, json=body([ROW], **one)).json()["parameters"]["step"] == 1  # the name is free


def test_a_number_and_its_digits_are_different_ids(client: httpx.Client) -> None:
    for name in (2**64 - 1, str(2**64 - 1)):
        answer = client.post(INFER, json=body([ROW], sequence_id=name, sequence_start=True, restart=True))
        assert answer.status_code == 200 and answer.json()["parameters"]["sequence_id"] == name
    client.post(INFER, json=body([ROW], sequence_id=2**64 - 1, sequence_end=True))
    assert client.post(INFER, json=body([ROW], sequence_id=str(2**64 - 1))).status_code == 200


@pytest.mark.parametrize("empty", [0, ""])
def test_an_empty_sequence_id_means_no_session(client: httpx.Client, empty: int | str) -> None:
    answer = client.post(INFER, json=body([ROW], sequence_id=empty))
    assert answer.status_code == 200 and "parameters" not in answer.json()


def test_a_sequence_survives_kill_9(tmp_path: Any, x: Array) -> None:
    with running(tmp_path, workers="2") as killed:
        steps = x[0].tolist()
        begin = body(steps[:3], sequence_id="call", sequence_start=True, at=0)
        before = httpx.post(killed.url + INFER, json=begin, timeout=60)
        killed.kill()
        killed.start()
        assert httpx.post(killed.url + INFER, json=begin, timeout=60).content == before.content
        rest = httpx.post(killed.url + INFER, json=body(steps[3:], sequence_id="call", at=3), timeout=60)
        whole = httpx.post(killed.url + INFER, json=body(steps), timeout=60)
    assert np.concatenate([y_of(before), y_of(rest)], axis=1).tobytes() == y_of(whole).tobytes()


def test_sessions_of_predict_and_v2_have_separate_names(client: httpx.Client, session: str) -> None:
    first(predict(client, [ROW], session=session))
    assert client.post(INFER, json=body([ROW], sequence_id=session)).status_code == 404


GOOD = body([ROW])
REFUSALS: list[tuple[str, Any, dict[str, str], int, str]] = [
    ("not JSON", b"{", {}, 400, "invalid_json"),
    ("no object", b"[]", {}, 400, "invalid_field"),
    ("no inputs", {}, {}, 400, "invalid_field"),
    ("a wrong input", {"inputs": [GOOD["inputs"][0] | {"name": "z"}]}, {}, 400, "invalid_field"),
    ("a wrong datatype", {"inputs": [GOOD["inputs"][0] | {"datatype": "FP64"}]}, {}, 400, "invalid_field"),
    ("too little data", {"inputs": [GOOD["inputs"][0] | {"data": [1.0]}]}, {}, 400, "wrong_shape"),
    ("a wrong output", GOOD | {"outputs": [{"name": "z"}]}, {}, 400, "invalid_field"),
    ("an output twice", GOOD | {"outputs": [{"name": "y"}] * 2}, {}, 400, "invalid_field"),
    ("shared memory", GOOD | {"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]}, {},
     400, "invalid_field"),
    ("an id that is no string", GOOD | {"id": 7}, {}, 400, "invalid_field"),
    ("parameters that are no object", GOOD | {"parameters": []}, {}, 400, "invalid_field"),
    ("start without an id", body([ROW], sequence_start=True), {}, 400, "invalid_field"),
    ("end without an id", body([ROW], sequence_end=True, sequence_id=0), {}, 400, "invalid_field"),
    ("a fraction for an id", body([ROW], sequence_id=1.5), {}, 400, "invalid_field"),
    ("a negative id", body([ROW], sequence_id=-1), {}, 400, "invalid_field"),
    ("true for an id", body([ROW], sequence_id=True), {}, 400, "invalid_field"),
    ("an id too long", body([ROW], sequence_id="x" * 129), {}, 400, "invalid_field"),
    ("start as a text", body([ROW], sequence_id=1, sequence_start="yes"), {}, 400, "invalid_field"),
    ("restart without start", body([ROW], sequence_id=1, restart=True), {}, 400, "invalid_field"),
    ("a wrong return", body([ROW], **{"return": "some"}), {}, 400, "invalid_field"),
    ("a negative length", GOOD, {"inference-header-content-length": "-1"}, 400, "bad_header"),
    ("a length beyond the body", GOOD, {"inference-header-content-length": "99999"}, 400, "bad_header"),
    ("a length of many digits", GOOD, {"inference-header-content-length": "1" * 5000}, 400, "bad_header"),
    ("invalid gzip", GOOD, {"content-encoding": "gzip"}, 400, "bad_header"),
    ("an unknown coding", GOOD, {"content-encoding": "br"}, 501, "unsupported_encoding"),
    ("a form", b"a=b", {"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "headers", "status", "code"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS]
)
def test_every_invalid_request_gets_an_error_with_a_code(
    client: httpx.Client, sent: Any, headers: dict[str, str], status: int, code: str
) -> None:
    content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    answer = client.post(INFER, content=content, headers={"content-type": "application/json"} | headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.json()["error"]
    if status == 501:
        assert answer.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/models/nope/infer", 404),
        ("POST", "/v2/models/vowels/versions/9/infer", 404),
        ("GET", "/v2/models/nope", 404),
        ("GET", "/v2/models/nope/ready", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/vowels/infer", 405),
        ("POST", "/v2/health/live", 405),
    ],
)
def test_every_route_of_v2_has_the_errors_of_the_protocol(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path, json=GOOD if method == "POST" else None)
    assert answer.status_code == status and answer.headers["content-type"] == "application/json"
    assert isinstance(answer.json()["error"], str)
    assert answer.headers["x-request-id"]


def test_the_triton_client_reads_the_errors(triton_client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="no model 'nope'"):
        triton_client.infer("nope", [input_of(np.ones((1, 1, 12), np.float32))])


def test_a_raw_binary_body_needs_no_json(client: httpx.Client, x: Array) -> None:
    raw = client.post(
        INFER,
        content=x.tobytes(),
        headers={"inference-header-content-length": "0", "content-type": "application/octet-stream"},
    )
    assert raw.status_code == 200, raw.text
    length = int(raw.headers["inference-header-content-length"])
    outputs = json.loads(raw.content[:length])["outputs"]
    assert [output["name"] for output in outputs] == ["y", "logits"]
    assert [output["parameters"]["binary_data_size"] for output in outputs] == [20 * 9 * 4] * 2
    y = np.frombuffer(raw.content[length:], np.float32).reshape(2, *outputs[0]["shape"])[0]
    assert y.tobytes() == y_of(client.post(INFER, json=body(x[0].tolist()))).tobytes()


def test_outputs_are_requested_by_name_each_as_json_or_bytes(
    triton_client: triton.InferenceServerClient, x: Array
) -> None:
    every = triton_client.infer("vowels", [input_of(x)])
    y, logits = every.as_numpy("y"), every.as_numpy("logits")
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    assert np.allclose(odds / odds.sum(-1, keepdims=True), y, atol=1e-6)
    for is_first, is_second in ((True, False), (False, True)):
        requested_outputs = [
            triton.InferRequestedOutput("logits", binary_data=is_first),
            triton.InferRequestedOutput("y", binary_data=is_second),
        ]
        answer = triton_client.infer("vowels", [input_of(x)], outputs=requested_outputs)
        assert [output["name"] for output in answer.get_response()["outputs"]] == ["logits", "y"]
        assert answer.as_numpy("y").tobytes() == y.tobytes()
        assert answer.as_numpy("logits").tobytes() == logits.tobytes()


def test_a_decompressed_body_is_limited(client: httpx.Client) -> None:
    bomb = zlib.compress(b" " * (64 << 20))
    headers = {"content-encoding": "deflate", "content-type": "application/json"}
    answer = client.post(INFER, content=bomb, headers=headers)
    assert answer.status_code == 413 and answer.json()["code"] == "body_too_large"


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/health/ready", "/v2/models/vowels/ready", "/models"]
)
def test_every_get_has_a_head(client: httpx.Client, path: str) -> None:
    answer, whole = client.head(path), client.get(path)
    assert answer.status_code == 200 and answer.content == b"" and "date" in answer.headers
    assert answer.headers["content-length"] == whole.headers["content-length"]


def test_every_response_has_one_date(client: httpx.Client) -> None:
    requests = [("POST", INFER, GOOD), ("POST", "/predict", {}), ("POST", INFER + "?x=1", GOOD)]
    for method, path, sent in [*requests, ("GET", "/v2", None), ("GET", "/none", None)]:
        answer = client.request(method, path, json=sent)
        assert len(answer.headers.get_list("date")) == 1, (path, answer.headers)


@pytest.mark.parametrize("binary", [True, False])
def test_the_triton_client_gets_the_largest_classes_with_labels(
    triton_client: triton.InferenceServerClient, x: Array, binary: bool
) -> None:
    labels = triton_client.get_model_metadata("vowels")["outputs"][0]["labels"]
    y = triton_client.infer("vowels", [input_of(x)]).as_numpy("y")
    wanted = [triton.InferRequestedOutput("y", binary_data=binary, class_count=2)]
    texts = triton_client.infer("vowels", [input_of(x)], outputs=wanted).as_numpy("y")
    assert texts.shape == (1, 20, 2)
    for step in range(20):
        text = texts[0, step, 0]
        value, index, label = (text.decode() if isinstance(text, bytes) else text).split(":")
        best = int(y[0, step].argmax())
        assert (np.float32(value), int(index), label) == (y[0, step, best], best, labels[best])


def test_the_triton_client_gets_classes_in_a_sequence_and_its_retry(
    client: httpx.Client, session: str, x: Array
) -> None:
    wanted = {"outputs": [{"name": "y", "parameters": {"classification": 1}}]}
    start = body(x[0, :1].tolist(), sequence_id=session, sequence_start=True, at=0) | wanted
    reply = client.post(INFER, json=start)
    assert reply.json()["outputs"][0]["data"][0].count(":") == 2
    assert client.post(INFER, json=start).content == reply.content


def test_the_triton_client_sends_stateless_batches_to_the_second_name(
    triton_client: triton.InferenceServerClient, x: Array
) -> None:
    name = "vowels:stateless"
    assert "sequence_batching" not in triton_client.get_model_config(name)
    assert triton_client.is_model_ready(name)
    batch = np.repeat(x, 4, axis=0)
    answer = triton_client.infer(name, [input_of(batch)])
    assert answer.get_response()["model_name"] == name and answer.as_numpy("y").shape == (4, 20, 9)
    with pytest.raises(InferenceServerException, match="send the sequence_id to vowels"):
        triton_client.infer(name, [input_of(x)], sequence_id=5, sequence_start=True)


@pytest.mark.parametrize("path", [INFER, "/predict", "/generate", "/v2/models/vowels"])
def test_a_version_in_the_query_is_refused(client: httpx.Client, path: str) -> None:
    method = "POST" if path != "/v2/models/vowels" else "GET"
    answer = client.request(method, f"{path}?version=1", json=GOOD if method == "POST" else None)
    assert answer.json()["code"] == "invalid_field" and "'version' is not read" in answer.text
