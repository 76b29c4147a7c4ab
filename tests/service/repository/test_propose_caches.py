"""Streaming blocks as they are published, exported by PyTorch: caches that begin empty and are bounded."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from service.engine import Batching
from service.manifest import GRAPH_FILE, Manifest
from service.repository import Hardware, Loader, PreparedModel
from service.sequence import Array, Sequence
from tests.service.repository.test_propose_exporters import export

BATCHING = Batching(max_batch=6, chunk_steps=7, max_waiting=99)
FEATURES, HEADS, WIDTH, LEFT = 4, 2, 3, 5


class StreamingAttention(nn.Module):
    """One frame a call: attention of several heads to itself and to the LEFT frames before it."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(FEATURES, 3 * HEADS * WIDTH)
        self.out = nn.Linear(HEADS * WIDTH, FEATURES)

    def forward(self, x: Tensor, past_key: Tensor, past_value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (
            part.view(x.shape[0], -1, HEADS, WIDTH).transpose(1, 2) for part in self.project(x).chunk(3, -1)
        )
        keys, values = (
            torch.cat([past_key, k], 2),
            torch.cat([past_value, v], 2),
        )  # [batch, heads, time, width]
        share = torch.softmax(q @ keys.transpose(2, 3) / WIDTH**0.5, -1)
        y = (share @ values).transpose(1, 2).reshape(x.shape[0], -1, HEADS * WIDTH)
        return x + self.out(y), keys[:, :, -LEFT:], values[:, :, -LEFT:]


class StreamingConvolution(nn.Module):
    """Any number of frames a call: a causal depthwise convolution whose left context is empty at first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(FEATURES, FEATURES, LEFT, groups=FEATURES)

    def forward(self, x: Tensor, conv_cache: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([conv_cache, x], 1)  # [batch, time, features]
        missing = LEFT - 1 - conv_cache.shape[1]
        padded = torch.cat([seen.new_zeros(x.shape[0], missing, FEATURES), seen], 1)
        return self.conv(padded.transpose(1, 2)).transpose(1, 2), seen[:, 1 - LEFT :]


def served(manifest: Manifest, folder: Path) -> PreparedModel:
    manifest.write(folder)
    return Loader(BATCHING, Hardware("cpu", 1)).prepare(folder)


def answers(prepared: PreparedModel, inputs: list[Array], ends: list[list[int]]) -> list[Array]:
    """What sessions of several clients give, each cut at its own ends and packed between its pieces."""
    layout, engine = prepared.engine.layout, prepared.engine
    states, done = [engine.initial_state for _ in inputs], [0] * len(inputs)
    parts: list[list[Array]] = [[] for _ in inputs]
    while waiting := [index for index in range(len(inputs)) if ends[index]]:
        pieces = {}
        for index in waiting:
            stop = ends[index].pop(0)
            x = inputs[index][done[index] : stop]
            pieces[index], done[index] = Sequence((x,), states[index], keep_all=True), stop
            prepared.scheduler.add(pieces[index])
        while batch := prepared.scheduler.schedule(0.0):
            prepared.scheduler.commit(batch, engine.run(batch))
        for index, piece in pieces.items():
            parts[index].append(piece.output())
            states[index] = layout.unpack(layout.pack(piece.state))
    return [np.concatenate(each) for each in parts]


def clients(count: int = 7) -> tuple[list[Array], list[list[int]]]:
    random = np.random.default_rng(0)
    inputs = [random.normal(size=(6 + 3 * index, FEATURES)).astype(np.float32) for index in range(count)]
    return inputs, [sorted({*random.integers(1, len(x), 4).tolist(), len(x)}) for x in inputs]


def test_streaming_attention_is_served_with_its_caches(folder: Path) -> None:
    graph = folder / GRAPH_FILE
    cache = {0: "batch", 2: "past"}
    manifest = export(
        StreamingAttention(),
        (torch.zeros(2, 1, FEATURES), torch.zeros(2, HEADS, 3, WIDTH), torch.ones(2, HEADS, 3, WIDTH)),
        graph,
        dynamo=False,
        input_names=["x", "past_key", "past_value"],
        output_names=["y", "present_key", "present_value"],
        dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}, "past_key": cache, "past_value": cache},
    )
    assert [(state.shape, state.grows) for state in manifest.states] == [
        (("batch", HEADS, LEFT, WIDTH), 2)
    ] * 2
    prepared = served(manifest, folder)
    session = ort.InferenceSession(graph)
    inputs, ends = clients()
    for x, actual in zip(inputs, answers(prepared, inputs, ends), strict=True):
        key = value = np.zeros((1, HEADS, 0, WIDTH), np.float32)
        for step, y in zip(x, actual, strict=True):
            feeds = {"x": step[None, None], "past_key": key, "past_value": value}
            expected, key, value = session.run(None, feeds)
            assert (
                np.array_equal(y, expected[0, 0])
                if prepared.difference == 0
                else np.allclose(y, expected[0, 0])
            )
    assert prepared.difference < 1e-5


def test_a_streaming_convolution_is_served_with_its_cache(folder: Path) -> None:
    graph = folder / GRAPH_FILE
    manifest = export(
        StreamingConvolution(),
        (torch.zeros(2, 9, FEATURES), torch.zeros(2, 3, FEATURES)),
        graph,
        dynamo=False,
        input_names=["x", "conv_cache"],
        output_names=["y", "new_conv_cache"],
        dynamic_axes={
            "x": {0: "batch", 1: "time"},
            "y": {0: "batch", 1: "time"},
            "conv_cache": {0: "batch", 1: "past"},
            "new_conv_cache": {0: "batch", 1: "kept"},
        },
    )
    (state,) = manifest.states
    assert (state.shape, state.grows, manifest.causal) == (("batch", LEFT - 1, FEATURES), 1, True)
    prepared = served(manifest, folder)
    session = ort.InferenceSession(graph)
    inputs, ends = clients()
    for x, actual in zip(inputs, answers(prepared, inputs, ends), strict=True):
        feeds = {"x": x[None], "conv_cache": np.zeros((1, 0, FEATURES), np.float32)}
        assert np.allclose(actual, session.run(None, feeds)[0][0], atol=1e-5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "stream" / "1"
    path.mkdir(parents=True)
    return path
