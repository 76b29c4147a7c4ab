"""Measures a served model: asks a running server what it says of every sequence, over HTTP like anybody else.

Short sequences go many to a request, long ones in pieces through a session each.
"""

import itertools
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

PIECE = 1000  # steps of one sequence in one request
REQUEST_SEQUENCES, REQUEST_STEPS = 64, 8000  # of all sequences in one request
TIMEOUT_S = 120.0

Floats = NDArray[np.float32]
Answers = Iterator[Floats]  # of each sequence in order: [steps, out]


class ServedError(TrainingError):
    """The server is not there, or does not answer as asked."""


@dataclass(frozen=True)
class Asked:
    """A model on a server."""

    url: str
    model: str
    version: str | None = None


def evaluate(
    asked: Asked,
    network: Network,
    data: DataSet,
    split: Split,
    *,
    track: Callable[[Answers], Answers] = iter,
) -> Scores:
    """How good a served model is on a split.

    `network` says what the inputs are, and by what reach forecasts are weighed; its weights are not asked.
    `track` passes the answers on, and may show how many there are. Raises ServedError.
    """
    task = of(data)
    said, truth = [], []
    with httpx.Client(base_url=asked.url, timeout=TIMEOUT_S) as client:
        answers = track(_Talk(client, asked, network, is_whole=data.task == "classify").answers(split))
        for rows, batch in zip(answers, in_order(split, batch_size=1), strict=True):
            y = _comparable(rows, is_foretold=data.forecast is not None)[None]
            picked, known = task.pick(y, torch.tensor([len(rows)]), batch.targets)
            said.append(picked.numpy())
            truth.append(known.numpy())
    return task.score(network, np.concatenate(said), np.concatenate(truth))


def _comparable(rows: Floats, *, is_foretold: bool) -> Tensor:
    """What the network would have said, but for a constant: logarithms of the probabilities."""
    said = torch.from_numpy(rows)
    return said if is_foretold else said.clamp_min(torch.finfo(said.dtype).tiny).log()


class _Talk:
    """One measurement's requests."""

    def __init__(self, client: httpx.Client, asked: Asked, network: Network, *, is_whole: bool) -> None:
        self._client, self._asked, self._network = client, asked, network
        self._is_whole = is_whole  # whether the last step is all that counts
        self._sessions = f"evaluate-{uuid.uuid4()}"

    def answers(self, split: Split) -> Answers:
        """What is said of each sequence: at every step, or [1, out] at the last."""
        waiting: list[Sequence] = []
        for row, sequence in enumerate(split.sequences):
            is_long = len(sequence) > PIECE and self._network.cell.causal
            steps = sum(map(len, waiting)) + len(sequence)
            if waiting and (is_long or steps > REQUEST_STEPS or len(waiting) == REQUEST_SEQUENCES):
                yield from self._together(waiting)
                waiting = []
            if is_long:
                yield self._in_pieces(sequence, f"{self._sessions}-{row}")
            else:
                waiting.append(sequence)
        if waiting:
            yield from self._together(waiting)

    def _together(self, sequences: list[Sequence]) -> Answers:
        yield from self._ask([{"steps": steps_of(self._network, sequence)} for sequence in sequences])

    def _in_pieces(self, sequence: Sequence, session: str) -> Floats:
        said = []
        for at in range(0, len(sequence), PIECE):
            piece = {
                "steps": steps_of(self._network, sequence[at : at + PIECE]),
                "session": session,
                "at": at,
            }
            said += self._ask([piece | {"end": at + PIECE >= len(sequence)}])
        return said[-1] if self._is_whole else np.concatenate(said)

    def _ask(self, sequences: list[dict[str, Any]]) -> list[Floats]:
        asked = self._asked
        wanted = {"model": asked.model} | ({"version": asked.version} if asked.version else {})
        body = wanted | {"sequences": sequences, "return": "last" if self._is_whole else "all"}
        try:
            reply = self._client.post("/predict", json=body)
        except httpx.HTTPError as error:
            raise ServedError(f"{asked.url}/predict: {error}") from error
        if reply.status_code != httpx.codes.OK:
            raise ServedError(f"{asked.url}/predict answered {reply.status_code}: {reply.text}")
        predictions = reply.json()["predictions"]
        for refused in itertools.filterfalse(lambda found: "output" in found, predictions):
            raise ServedError(f"{asked.url}/predict refused a sequence: {refused['error']}")
        return [np.atleast_2d(np.array(found["output"], np.float32)) for found in predictions]
