"""Points S, B and E: sequences, binary tensors, configuration, statistics, repository."""

import gzip
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import orjson

from tests.conformance.core import Check
from tests.conformance.target import HEADER, STEPS, NotOffered, Target, array_of, error_of, gzipped

Arrays = dict[str, np.ndarray[Any, Any]]
TOLERANCE = 1e-5  # relative and absolute, of float32 outputs


class _Sequence:
    """One sequence of the protocol, fed with the steps from `begin` to `end` of the model's inputs."""

    def __init__(self, target: Target, sequence_id: int | str | None = None) -> None:
        target.require("sequence", "sequence(string_id)")
        self.target = target
        self.id = uuid.uuid4().int >> 65 if sequence_id is None else sequence_id
        self.arrays = target.arrays()
        self._with_time = [spec["name"] for spec in target.metadata["inputs"] if -1 in spec["shape"][1:2]]
        if not self._with_time:
            raise NotOffered("the model has no axis of steps")

    def body(self, begin: int, end: int, **parameters: Any) -> dict[str, Any]:
        parts = {
            name: array[:, begin:end] if name in self._with_time else array
            for name, array in self.arrays.items()
        }
        return {"inputs": self.target.tensors(parts), "parameters": {"sequence_id": self.id} | parameters}

    def feed(self, begin: int, end: int, **parameters: Any) -> Arrays:
        return self.target.outputs(self.body(begin, end, **parameters))

    def feed_all(self, *cuts: int) -> Arrays:
        """The outputs of the last part of a sequence that is cut at these steps."""
        parts = list(pairwise((0, *cuts, STEPS)))
        for begin, end in parts:
            outputs = self.feed(begin, end, sequence_start=begin == 0, sequence_end=end == STEPS)
        return outputs


def _assert_same_end(some: Arrays, others: Arrays) -> None:
    for name, values in some.items():
        last, other = np.float64(values[:, -1]), np.float64(others[name][:, -1])
        np.testing.assert_allclose(last, other, TOLERANCE, TOLERANCE, err_msg=name)


def sequence_parameters(target: Target) -> None:
    for parameters in (
        {"sequence_id": 0, "sequence_start": True},
        {"sequence_id": True, "sequence_start": True},
        {"sequence_id": [1], "sequence_start": True},
        {"sequence_id": 1.5, "sequence_start": True},
        {"sequence_id": 2**64, "sequence_start": True},
    ):
        response = target.post(_Sequence(target).body(0, STEPS, **parameters))
        assert response.status_code == 400, f"{parameters}: {response.status_code}"
        error_of(response)


def large_ids(target: Target) -> None:
    for sequence_id in (2**64 - 1, 2**63, str(uuid.uuid4())):
        if isinstance(sequence_id, str) and "sequence(string_id)" not in target.extensions:
            continue
        _Sequence(target, sequence_id).feed(0, STEPS, sequence_start=True, sequence_end=True)


def one_request(target: Target) -> None:
    whole = target.outputs(target.request())
    _assert_same_end(_Sequence(target).feed_all(), whole)


def end_frees(target: Target) -> None:
    sequence = _Sequence(target)
    sequence.feed_all(2)
    response = target.post(sequence.body(0, 1))
    assert response.status_code >= 400, "an ended sequence continues"
    error_of(response)
    _assert_same_end(sequence.feed_all(3), target.outputs(target.request()))


def unknown_sequence(target: Target) -> None:
    response = target.post(_Sequence(target).body(0, 1))
    assert 400 <= response.status_code < 500, response.status_code
    error_of(response)


def ids_have_types(target: Target) -> None:
    target.require("sequence(string_id)")
    number = uuid.uuid4().int >> 65
    by_number, by_text = _Sequence(target, number), _Sequence(target, str(number))
    by_number.feed(0, 4, sequence_start=True)
    by_text.feed(0, 2, sequence_start=True)
    end = by_number.feed(4, STEPS, sequence_end=True)
    by_text.feed(2, STEPS, sequence_end=True)
    _assert_same_end(end, target.outputs(target.request()))


def timeout_and_priority(target: Target) -> None:
    _Sequence(target).feed(0, STEPS, sequence_start=True, sequence_end=True, timeout=10_000_000, priority=1)


def in_order(target: Target) -> None:
    """Steps that are sent together are each applied once, as if all had been one request."""
    sequence = _Sequence(target)
    for name, array in sequence.arrays.items():
        sequence.arrays[name] = np.repeat(array[:, :1], STEPS, 1) if array.shape[1:2] == (STEPS,) else array
    whole = target.outputs({"inputs": target.tensors(sequence.arrays)})
    sequence.feed(0, 1, sequence_start=True)
    with ThreadPoolExecutor(STEPS) as pool:
        list(pool.map(lambda step: sequence.feed(step, step + 1), range(1, STEPS - 1)))
    _assert_same_end(sequence.feed(STEPS - 1, STEPS, sequence_end=True), whole)


def second_start(target: Target) -> None:
    sequence = _Sequence(target)
    sequence.feed(0, 3, sequence_start=True)
    response = target.post(sequence.body(0, STEPS, sequence_start=True, sequence_end=True))
    assert response.status_code in (200, 409), response.status_code
    if response.status_code == 200:
        again = {output["name"]: array_of(output) for output in response.json()["outputs"]}
        _assert_same_end(again, target.outputs(target.request()))
    else:
        error_of(response)
        sequence.feed(3, STEPS, sequence_end=True)


def any_cut(target: Target) -> None:
    whole = target.outputs(target.request())
    for cuts in ((), (1,), (5,), (2, 4), (1, 2, 3, 4, 5)):
        _assert_same_end(_Sequence(target).feed_all(*cuts), whole)


def batch_mates(target: Target) -> None:
    mine, other = _Sequence(target), _Sequence(target)
    for name, array in other.arrays.items():
        other.arrays[name] = np.flip(array, -1).copy()
    mine.feed(0, 2, sequence_start=True)
    other.feed(0, 3, sequence_start=True)
    mine.feed(2, 4)
    other.feed(3, STEPS, sequence_end=True)
    _assert_same_end(mine.feed(4, STEPS, sequence_end=True), target.outputs(target.request()))


def binary_inputs(target: Target) -> None:
    target.require("binary_tensor_data")
    body, length = target.packed(target.arrays())
    plain = target.outputs(target.request())
    for name, values in target.outputs(body, **{HEADER: str(length)}).items():
        np.testing.assert_array_equal(values, plain[name])


def binary_outputs(target: Target) -> None:
    target.require("binary_tensor_data")
    plain = target.outputs(target.request())
    response = target.post(target.request(parameters={"binary_data_output": True}))
    assert response.status_code == 200 and HEADER in response.headers, response.status_code
    length = int(response.headers[HEADER])
    rest = response.content[length:]
    for output in orjson.loads(response.content[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        expected = plain[output["name"]]
        if output["datatype"] == "FP32":
            values = np.frombuffer(rest[:size], "<f4").reshape(output["shape"])
            np.testing.assert_array_equal(values, expected.astype(np.float32))
        rest = rest[size:]
    assert not rest, "bytes follow the last output"


def binary_sizes(target: Target) -> None:
    target.require("binary_tensor_data")
    body, length = target.packed(target.arrays())
    for content, header in (
        (body[:-1], length),
        (body + b"!", length),
        (body, len(body) + 1),
        (body, -1),
        (body, "x"),
    ):
        response = target.post(content, **{HEADER: str(header)})
        assert response.status_code == 400, f"{header}: {response.status_code}"
        error_of(response)


def data_or_bytes(target: Target) -> None:
    target.require("binary_tensor_data")
    first, *others = target.request()["inputs"]
    both = orjson.dumps({"inputs": [first | {"parameters": {"binary_data_size": 4}}, *others]})
    response = target.post(both + b"abcd", **{HEADER: str(len(both))})
    assert response.status_code == 400, response.status_code


def compressed_binary(target: Target) -> None:
    target.require("binary_tensor_data")
    body, length = target.packed(target.arrays())
    response = target.post(gzip.compress(body), content_encoding="gzip", **{HEADER: str(length)})
    if (
        response.status_code in (415, 501)
        or target.post(gzipped({}), content_encoding="gzip").status_code == 501
    ):
        raise NotOffered("requests may not be compressed")
    assert response.status_code == 200, response.text[:100]


def configuration(target: Target) -> None:
    target.require("model_configuration")
    config = target.client.get(f"{target.path}/config").json()
    assert config["name"] == target.model and type(config["max_batch_size"]) is int
    for ours, theirs in (("input", "inputs"), ("output", "outputs")):
        names = [tensor["name"] for tensor in config[ours]]
        assert names == [tensor["name"] for tensor in target.metadata[theirs]]


def statistics(target: Target) -> None:
    target.require("statistics")
    (shown, *_) = target.client.get(f"{target.path}/stats").json()["model_stats"]
    assert shown["name"] == target.model and isinstance(shown["version"], str)
    assert {"count", "ns"} <= shown["inference_stats"]["success"].keys()


def repository_index(target: Target) -> None:
    target.require("model_repository")
    index = target.client.post("/v2/repository/index", json={}).json()
    assert target.model in [entry["name"] for entry in index]


POINTS: tuple[tuple[str, str, Check], ...] = (
    ("S2a", "an id or a start that is not one is 400", sequence_parameters),
    ("S2b", "ids up to 2^64-1 and strings are accepted", large_ids),
    ("S3", "start and end in one request are a sequence", one_request),
    ("S4", "end frees the id", end_frees),
    ("S5", "a sequence that was not started is refused", unknown_sequence),
    ("S6", '42 and "42" are two sequences', ids_have_types),
    ("S7", "timeout and priority are accepted", timeout_and_priority),
    ("S8", "parts that arrive together are applied one by one", in_order),
    ("S9", "a second start begins anew, or is 409", second_start),
    ("S10a", "however a sequence is cut, it ends the same", any_cut),
    ("S10b", "sequences do not mix", batch_mates),
    ("B3", "binary inputs give the outputs of JSON", binary_inputs),
    ("B5", "binary outputs have the numbers of JSON", binary_outputs),
    ("B7", "sizes that do not agree are 400", binary_sizes),
    ("B8", "data beside binary_data_size is 400", data_or_bytes),
    ("B9", "a compressed body counts its JSON decompressed", compressed_binary),
    ("E1", "the configuration names the tensors of the metadata", configuration),
    ("E2", "the statistics extension counts requests", statistics),
    ("E3", "the repository index lists the model", repository_index),
)
