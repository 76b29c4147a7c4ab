"""Evaluates a model on a running server over HTTP, as any client would. Knows no code of the service.

Short sequences share a request; a long one is sent in pieces through a session of its own.
"""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.batches import in_order
from training.data.dataset import DataSet, Sequence, Split
from training.errors import TrainingError
from training.export.example import steps_of
from training.model import Network
from training.tasks import Scores, of

PIECE_STEPS = 1000  # most steps of one sequence in one request
REQUEST_SEQUENCES, REQUEST_STEPS = 64, 8000  # most sequences in one request, and their steps together
TIMEOUT_S = 120.0
SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), 1 - 2.0**-24  # probabilities with a finite logit

Floats = NDArray[np.float32]
Outputs = Iterator[Floats]  # of each sequence in order: [steps, out]


class ServerError(TrainingError):
    """The server is not reachable, or refuses the request."""


@dataclass(frozen=True)
class ServedModel:
    """A model on a server; `version` None is the highest."""

    url: str
    name: str
    version: str | None = None


def evaluate(
    model: ServedModel,
    network: Network,
    data: DataSet,
    split: Split,
    *,
    piece_steps: int = PIECE_STEPS,
    track: Callable[[Outputs], Outputs] = iter,
    transport: httpx.BaseTransport | None = None,
) -> Scores:
    """The scores of a served model on a split. Raises ServerError.

    `network` describes the inputs, and the reach that forecasts are scored with; its weights are not used.
    `track` passes the outputs through, and may show progress. `transport`: see httpx; the network by default.
    """
    task = of(data)
    picked, targets = [], []
    with httpx.Client(base_url=model.url, timeout=TIMEOUT_S, transport=transport) as client:
        requests = _Requests(client, model, network, last_only=data.is_whole, piece_steps=piece_steps)
        outputs = track(requests.outputs(split))
        for rows, batch in zip(outputs, in_order(split, batch_size=1), strict=True):
            y = _as_network_output(rows, data)[None]
            values, known = task.pick(y, torch.tensor([len(rows)]), batch.targets)
            picked.append(values.numpy())
            targets.append(known.numpy())
    return task.score(network, np.concatenate(picked), np.concatenate(targets))


def _as_network_output(rows: Floats, data: DataSet) -> Tensor:
    """The network's output up to a constant: logarithms of probabilities, other numbers as they are."""
    values = torch.from_numpy(rows)
    if data.task == "multilabel":
        return values.clamp(SMALLEST, LARGEST).logit()
    return values.clamp_min(SMALLEST).log() if data.has_classes else values


class _Requests:
    """The requests of one evaluation."""

    def __init__(
        self,
        client: httpx.Client,
        model: ServedModel,
        network: Network,
        *,
        last_only: bool,
        piece_steps: int,
    ) -> None:
        self._client, self._model, self._network = client, model, network
        self._last_only, self._piece_steps = last_only, piece_steps
        self._session_prefix = f"evaluate-{uuid.uuid4()}"

    def outputs(self, split: Split) -> Outputs:
        """The outputs of each sequence: at every step, or [1, out] at the last."""
        waiting: list[Sequence] = []
        for row, sequence in enumerate(split.sequences):
            is_long = len(sequence) > self._piece_steps and self._network.cell.causal
            steps = sum(map(len, waiting)) + len(sequence)
            if waiting and (is_long or steps > REQUEST_STEPS or len(waiting) == REQUEST_SEQUENCES):
                yield from self._together(waiting)
                waiting = []
            if is_long:
                yield self._in_pieces(sequence, f"{self._session_prefix}-{row}")
            else:
                waiting.append(sequence)
        if waiting:
            yield from self._together(waiting)

    def _together(self, sequences: list[Sequence]) -> Outputs:
        yield from self._post([{"steps": steps_of(self._network, sequence)} for sequence in sequences])

    def _in_pieces(self, sequence: Sequence, session: str) -> Floats:
        outputs = []
        for at in range(0, len(sequence), self._piece_steps):
            end = at + self._piece_steps
            steps = steps_of(self._network, sequence[at:end])
            outputs += self._post(
                [{"steps": steps, "session": session, "at": at, "end": end >= len(sequence)}]
            )
        return outputs[-1] if self._last_only else np.concatenate(outputs)

    def _post(self, sequences: list[dict[str, Any]]) -> list[Floats]:
        model = self._model
        body: dict[str, Any] = {"model": model.name} | ({"version": model.version} if model.version else {})
        body |= {"sequences": sequences, "return": "last" if self._last_only else "all"}
        try:
            reply = self._client.post("/predict", json=body)
        except httpx.HTTPError as error:
            raise ServerError(f"{model.url}/predict: {error}") from error
        if reply.status_code != httpx.codes.OK:
            raise ServerError(f"{model.url}/predict answered {reply.status_code}: {reply.text}")
        predictions = reply.json()["predictions"]
        for prediction in predictions:
            if "output" not in prediction:
                raise ServerError(f"{model.url}/predict refused a sequence: {prediction['error']}")
        return [np.atleast_2d(np.array(prediction["output"], np.float32)) for prediction in predictions]
