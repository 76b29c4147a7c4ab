"""The requests of an evaluation, on a fake server: sizes, sessions, pieces, and refusals."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from tests.training.synthetic import data_of
from tests.training.test_inputs import network_for
from training.data.dataset import DataSet, Split, Task, each_step
from training.served_model import REQUEST_SEQUENCES, REQUEST_STEPS, ServedModel, ServerError, evaluate


class FakeServer(httpx.BaseTransport):
    """Answers /predict with uniform probabilities, and records the bodies."""

    def __init__(self, out: int) -> None:
        self.out = out
        self.bodies: list[dict[str, Any]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/predict"
        body = json.loads(request.read())
        self.bodies.append(body)
        predictions = [{"output": self.output(one["steps"], body["return"])} for one in body["sequences"]]
        return httpx.Response(200, json={"predictions": predictions})

    def output(self, steps: Any, kind: str) -> Any:
        row = [1 / self.out] * self.out
        return row if kind == "last" else [row] * len(steps)


def of_lengths(lengths: list[int], task: Task = "label") -> DataSet:
    data = data_of(task)
    columns = sum(input_.columns for input_ in data.inputs)
    sequences = tuple(np.zeros((length, columns), np.float32) for length in lengths)
    targets = each_step([np.zeros(length, np.int64) for length in lengths])
    if task == "classify":
        targets = np.zeros(len(lengths), np.int64)
    return replace(data, test=Split(sequences, targets))


def bodies_of(data: DataSet, *, version: str | None = None, **fields: Any) -> list[dict[str, Any]]:
    server = FakeServer(len(data.labels))
    model = ServedModel("http://fake", "m", version)
    evaluate(model, network_for(data), data, data.test, transport=server, **fields)
    return server.bodies


def test_short_sequences_share_a_request() -> None:
    [body] = bodies_of(of_lengths([3, 1, 2]))
    assert [len(one["steps"]) for one in body["sequences"]] == [3, 1, 2]
    assert not any("session" in one for one in body["sequences"])
    assert (body["model"], body["return"]) == ("m", "all")
    assert "version" not in body


def test_a_version_is_sent_if_there_is_one() -> None:
    assert bodies_of(of_lengths([1]), version="7")[0]["version"] == "7"


def test_a_request_has_a_limited_number_of_sequences() -> None:
    bodies = bodies_of(of_lengths([1] * (2 * REQUEST_SEQUENCES + 1)))
    assert [len(body["sequences"]) for body in bodies] == [REQUEST_SEQUENCES, REQUEST_SEQUENCES, 1]


def test_a_request_has_a_limited_number_of_steps() -> None:
    length = REQUEST_STEPS // 10
    bodies = bodies_of(of_lengths([length] * 25))
    assert [len(body["sequences"]) for body in bodies] == [10, 10, 5]


def test_a_long_sequence_is_sent_in_pieces_of_one_session_between_the_others() -> None:
    bodies = bodies_of(of_lengths([2, 7, 1]), piece_steps=3)
    shapes = [
        [(len(one["steps"]), one.get("at"), one.get("end")) for one in body["sequences"]] for body in bodies
    ]
    assert shapes == [
        [(2, None, None)], [(3, 0, False)], [(3, 3, False)], [(1, 6, True)], [(1, None, None)]
    ]  # fmt: skip
    sessions = {one["session"] for body in bodies[1:4] for one in body["sequences"]}
    assert len(sessions) == 1


def test_every_long_sequence_and_every_evaluation_has_its_own_session() -> None:
    data = of_lengths([4, 4])
    sessions = [
        {one["session"] for body in bodies_of(data, piece_steps=3) for one in body["sequences"]}
        for _ in range(2)
    ]
    assert len(sessions[0] | sessions[1]) == 4


def test_a_sequence_of_exactly_one_piece_needs_no_session() -> None:
    [body] = bodies_of(of_lengths([3]), piece_steps=3)
    assert "session" not in body["sequences"][0]


def test_a_model_that_reads_from_both_ends_gets_whole_sequences() -> None:
    data = of_lengths([9])
    server = FakeServer(len(data.labels))
    evaluate(
        ServedModel("http://fake", "m"), network_for(data, "bidirectional"), data, data.test,
        piece_steps=3, transport=server,
    )  # fmt: skip
    [body] = server.bodies
    assert len(body["sequences"][0]["steps"]) == 9


def test_a_class_of_a_sequence_needs_its_last_step_only() -> None:
    bodies = bodies_of(of_lengths([2, 5], "classify"), piece_steps=4)
    assert {body["return"] for body in bodies} == {"last"}


def test_uniform_probabilities_have_the_loss_of_chance() -> None:
    data = of_lengths([4, 6])
    scores = evaluate(
        ServedModel("http://fake", "m"), network_for(data), data, data.test, transport=FakeServer(2)
    ).metrics
    assert scores["loss"] == pytest.approx(np.log(2))
    assert scores["accuracy"] == 1, "ties go to the first class, which is the true one"


def test_progress_sees_the_outputs_of_each_sequence() -> None:
    lengths: list[int] = []

    def track(outputs: Iterator[Any]) -> Iterator[Any]:
        for rows in outputs:
            lengths.append(len(rows))
            yield rows

    bodies_of(of_lengths([3, 5, 2]), track=track, piece_steps=4)
    assert lengths == [3, 5, 2]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (httpx.Response(503, text="full"), "http://fake/predict answered 503: full"),
        (
            httpx.Response(200, json={"predictions": [{"error": {"code": "bad"}}]}),
            "refused a sequence: .*bad",
        ),
    ],
)
def test_a_refusal_is_reported(reply: httpx.Response, message: str) -> None:
    data = of_lengths([1])
    transport = httpx.MockTransport(lambda _: reply)
    with pytest.raises(ServerError, match=message):
        evaluate(ServedModel("http://fake", "m"), network_for(data), data, data.test, transport=transport)


def test_a_broken_connection_is_reported() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    data = of_lengths([1])
    with pytest.raises(ServerError, match="http://fake/predict: refused"):
        evaluate(
            ServedModel("http://fake", "m"), network_for(data), data, data.test,
            transport=httpx.MockTransport(broken),
        )  # fmt: skip
