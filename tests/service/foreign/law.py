"""The law: a graph that is served answers as bare ONNX Runtime does, in every split, batch and session.

A graph that is not served is refused with a message that names the reason.
"""

import re
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from service.engine import Batching
from service.engine.axes import input_order, takes_one_step
from service.errors import StartupError
from service.manifest import GRAPH_FILE, Manifest
from service.repository import Hardware, Loader, Options, PreparedModel, propose
from service.repository.proposal.options import NO_AXIS
from service.sequence import Array, Sequence, State
from service.sessions import StateToken, StateTokens
from tests.service.foreign import manifests
from tests.service.foreign.graph import build
from tests.service.foreign.kind import Kind
from tests.service.foreign.truth import Steps, Truth, invent

BATCHING = Batching(max_batch=6, chunk_steps=7, max_waiting=99)
MAX_STEPS = 23
# What a manifest with that claim may be refused with. "example": the answer itself is another one.
EXAMPLE, SHAPE = "the example gives", r"the shape \["
FIT, FAILS = "does not fit the graph", "the graph fails"
CUT, ROWS = "cut in pieces it answers something else by", "influence each other by"
REASONS = {
    "swap_states": f"{CUT}.*(causal.*paired)|{FIT}|{EXAMPLE}|{FAILS}",
    "claim_causal": f"{CUT}.*causal|{EXAMPLE}",
    "swap_axes": f"{ROWS}.*batch|{CUT}|{FIT}|{EXAMPLE}|{FAILS}|{SHAPE}",
    "deny_time": f"{ROWS}.*batch|has no batch axis: |{FIT}|{EXAMPLE}|{FAILS}|{SHAPE}",
    "claim_last": f"{FIT}|{SHAPE}|{EXAMPLE}",
    "claim_all": f"{FIT}|{SHAPE}|{EXAMPLE}",
    "widen_output": f"{FIT}|{SHAPE}|{EXAMPLE}",
    "widen_state": f"{FIT}|{FAILS}",
    "lower_bound": f"{FAILS}.*it grows beyond . entries",
    "drop_state": f"{FIT}.*not in the manifest",
    "change_dtype": f"{FIT}.*float",
    "deny_influence": f'{ROWS}.*is axis . the batch.*set "batch_size" to 1',
    "expect_another_answer": EXAMPLE,
}


@dataclass(frozen=True)
class Verdict:
    """What became of a graph."""

    served: bool
    exact: bool = False
    message: str = ""


def check(kind: Kind, root: Path, *, lie: str = "", seed: int = 0) -> Verdict | None:
    """Hold the law for one graph below `root`, an empty folder; None: the lie would not be one.

    Raises AssertionError if it is broken.
    """
    fields = manifests.false(kind, lie) if lie else manifests.right(kind)
    if fields is None:
        return None
    model = build(kind)
    truth, random = Truth(kind, model), np.random.default_rng(seed)
    place(kind, model, truth, fields, root, lie)
    try:
        prepared = Loader(BATCHING, Hardware("cpu", 1)).prepare(root / "graph" / "1")
    except StartupError as error:
        assert lie, f"refused: {error.detail}"
        assert re.search(REASONS[lie], error.detail, re.DOTALL), f"{lie} is refused with: {error.detail}"
        return Verdict(False, message=error.detail)
    hold(kind, truth, prepared, random)
    return Verdict(True, prepared.difference == 0)


def check_draft(kind: Kind, root: Path, *, seed: int = 0) -> Verdict:
    """Hold the law for what `inspect` proposes: without any option, then with what the author would say.

    A draft may read a graph otherwise than its author, since no file says which axis is the time, or which
    numbers repeat those before. Then only the pairs of states are held, and the author's options must lead to
    the author's reading. Raises AssertionError if the law is broken.
    """
    folder = root / "graph" / "1"
    folder.mkdir(parents=True)
    onnx.save(build(kind), folder / GRAPH_FILE)
    verdict = _hold_draft(kind, folder, Options(), seed)
    return _hold_draft(kind, folder, manifests.options(kind), seed) if verdict.message else verdict


def _hold_draft(kind: Kind, folder: Path, options: Options, seed: int) -> Verdict:
    """A verdict with a message: the draft is not complete, refused, or another reading."""
    draft = propose(folder / GRAPH_FILE, options)
    if draft.manifest is None:
        assert draft.open, "the draft is not complete, and does not say why"
        return Verdict(False, message="; ".join(draft.open))
    draft.manifest.write(folder)
    try:
        prepared = Loader(BATCHING, Hardware("cpu", 1)).prepare(folder)
    except StartupError as error:
        return Verdict(False, message=error.detail)
    right = Manifest.model_validate(manifests.right(kind))
    pairs = {state.input: state.output for state in right.states}
    wrong = [s.input for s in draft.manifest.states if pairs.get(s.input, s.output) != s.output]
    assert not wrong, f"paired wrongly: {wrong}"
    if other := _other_readings(draft.manifest, right):
        assert options == Options(), f"the author's options lead to another reading of {', '.join(other)}"
        return Verdict(True, prepared.difference == 0, f"another reading of {', '.join(other)}")
    hold(kind, Truth(kind, build(kind)), prepared, np.random.default_rng(seed))
    return Verdict(True, prepared.difference == 0)


def _other_readings(draft: Manifest, right: Manifest) -> list[str]:
    """The parts that a draft reads otherwise than the author, such as steps as rows: no file says it.

    The draft may answer other outputs: those that both have are compared. Where their axes lie shows in the
    numbers.
    """

    def readings(manifest: Manifest, others: Manifest) -> dict[str, Any]:
        axes, known = manifest.axes, {spec.name for spec in others.outputs}
        is_one = (axes.batch_size, axes.time_size) == (1, 1)  # whichever is which
        return {
            "axes": (0, 0) if is_one else _places(manifest),
            "inputs": {(spec.graph_input, spec.per, spec.dims, spec.carry) for spec in manifest.inputs},
            "states": {state.input for state in manifest.states},
            "outputs": {
                (
                    spec.name,
                    tuple(size for size in spec.dims if size != 1),
                    "all" if takes_one_step(manifest) else spec.steps,
                )
                for spec in manifest.outputs
                if spec.name in known
            },
        }

    ours, meant = readings(draft, right), readings(right, draft)
    return [part for part in ours if ours[part] != meant[part] or not ours["outputs"]]


def _places(manifest: Manifest) -> list[int]:
    """Where the steps' input has its batch and time axes; a number of its own has none for features."""
    labels = input_order(manifest.step_inputs[0], manifest.axes).labels
    return [labels.index(label) if label in labels else NO_AXIS for label in ("batch", "time")]


def place(
    kind: Kind, model: onnx.ModelProto, truth: Truth, fields: dict[str, Any], root: Path, lie: str
) -> None:
    """Write the version folder.

    The example of a false manifest accepts any answer, as if it had been computed with that manifest.
    """
    folder = root / "graph" / "1"
    folder.mkdir(parents=True)
    onnx.save(model, folder / GRAPH_FILE)
    is_window = kind.time == "fixed" and not (kind.keeps and kind.can_be_cut)
    steps = invent(kind, kind.unit if is_window else 5 * kind.unit, np.random.default_rng(1))
    example = manifests.example(kind, truth, steps)
    if lie == "expect_another_answer":
        example["output"] = (np.array(example["output"], np.float64) + 1).tolist()
    elif lie:
        example["tolerance"] = 1e9
    Manifest.model_validate(fields | {"example": example}).write(folder)


@dataclass
class Client:
    """A sequence on its way, in one piece or in several of a session."""

    steps: Steps
    ends: list[int]  # of the pieces to come
    state: State
    done: int = 0  # steps
    answers: list[list[Array]] = field(default_factory=list)  # of each piece, by output


def hold(kind: Kind, truth: Truth, prepared: PreparedModel, random: np.random.Generator) -> None:
    """Compare batches, splits and sessions with bare ONNX Runtime."""
    layout, names = prepared.engine.layout, {kind.name(role): role for role in ("y", "second", "h_out")}
    roles = {at: names.get(spec.name, "") for at, spec in enumerate(prepared.manifest.outputs)}
    clients = [_client(kind, prepared, random) for _ in range(8)]
    while waiting := [client for client in clients if client.ends]:
        sequences = [_next_piece(client, prepared.manifest) for client in waiting]
        _run(prepared, sequences)
        for client, sequence in zip(waiting, sequences, strict=True):
            client.answers.append([sequence.output(index) for index in range(len(roles))])
            client.done = client.ends.pop(0)
            client.state = _kept_by_client(prepared, client.done, layout.pack(sequence.state))
    for client in clients:
        expected = truth.answer(client.steps)
        for index, role in roles.items():
            if role not in expected:  # a further new state, which a draft answers too
                continue
            pieces = [answer[index] for answer in client.answers]
            spec = prepared.manifest.outputs[index]
            has_all = spec.steps == "all" or takes_one_step(prepared.manifest)
            actual = np.concatenate(pieces) if has_all else pieces[-1][-1]
            _compare(kind, role, actual, expected[role], prepared)


def _client(kind: Kind, prepared: PreparedModel, random: np.random.Generator) -> Client:
    manifest = prepared.manifest
    units = int(random.integers(1, 1 + MAX_STEPS // kind.unit))
    steps = invent(kind, manifest.exact_steps or units * kind.unit, random)
    state = prepared.engine.initial_state
    if kind.static:
        state = prepared.engine.layout.with_values(state, {kind.name("static"): steps.static})
    cuts = random.integers(1, units + 1, 3) * kind.unit if manifest.chunkable else ()
    return Client(steps, sorted({*map(int, cuts), len(steps.x)}), state)


def _next_piece(client: Client, manifest: Manifest) -> Sequence:
    x = client.steps.x[client.done : client.ends[0]]
    return Sequence((x,), client.state, keep_all=True, extra=tuple(range(1, len(manifest.outputs))))


def _kept_by_client(prepared: PreparedModel, step: int, packed: bytes) -> State:
    """The state after a token, or a session: both hold these bytes."""
    tokens, layout = StateTokens(), prepared.engine.layout
    token = StateToken(prepared.binding, step, packed)
    read = tokens.read("", tokens.write("", token), max_state_bytes=layout.num_bytes)
    assert read == token and layout.fault(read.state) is None
    return layout.unpack(read.state)


def _run(prepared: PreparedModel, sequences: Items[Sequence]) -> None:
    for sequence in sequences:
        prepared.scheduler.add(sequence)
    while batch := prepared.scheduler.schedule(0.0):
        prepared.scheduler.commit(batch, prepared.engine.run(batch))


def _compare(kind: Kind, role: str, actual: Array, expected: Array, prepared: PreparedModel) -> None:
    """Both of every step, or both of the last."""
    if _without_ones(actual) == _without_ones(expected):  # an axis of 1 may be a dim or the time
        actual = actual.reshape(expected.shape)
    assert actual.shape == expected.shape, f"{role}: {actual.shape}, not {expected.shape}"
    if prepared.difference == 0:
        assert np.array_equal(actual, expected), f"{role}: exact, but {_apart(actual, expected):g} apart"
        return
    if expected.dtype.kind in "iu":  # an argmax, which rounding before it may turn
        assert (actual != expected).sum() <= 1 + expected.size // 10, f"{role}: {actual}, not {expected}"
        return
    scale = float(np.abs(expected).max(initial=0)) or 1.0
    bound = (0.05 if kind.state_dtype == "float16" else 1e-4) * scale
    assert _apart(actual, expected) <= bound, f"{role}: {_apart(actual, expected):g} apart, at most {bound:g}"


def _without_ones(array: Array) -> tuple[int, ...]:
    return tuple(size for size in array.shape if size != 1)


def _apart(actual: Array, expected: Array) -> float:
    return float(np.abs(actual.astype(np.float64) - expected).max(initial=0))
