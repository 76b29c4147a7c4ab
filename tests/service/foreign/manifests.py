"""The manifest that fits a kind, and manifests that claim something false about it."""

import copy
from collections.abc import Callable
from typing import Any

from service.repository import Options
from tests.service.foreign.caches import cache_axis
from tests.service.foreign.graph import state_shape
from tests.service.foreign.kind import ANSWERS, CARRY, FEATURES, HIDDEN, STATIC, TOKENS, Kind
from tests.service.foreign.truth import Steps, Truth

Fields = dict[str, Any]


def right(kind: Kind) -> Fields:
    """All but the example."""
    axes: Fields = {
        "batch": kind.axes.index("b") if kind.has_batch else None,
        "time": kind.axes.index("t") if kind.has_time else None,
    }
    axes |= {"batch_size": kind.rows} if kind.rows else {}
    axes |= {"batch_size": 1} if kind.couples else {}
    axes |= {"time_size": {"one": 1, "fixed": kind.unit}[kind.time]} if kind.time in ("one", "fixed") else {}
    return {
        "task": "label",
        "causal": kind.can_be_cut,
        "inputs": _inputs(kind),
        "axes": axes,
        "states": _states(kind),
        "outputs": _outputs(kind),
        **({"lengths": kind.name("lengths")} if kind.lengths else {}),
    }


def options(kind: Kind) -> Options:
    """What the author says about the graph to `inspect`."""
    fields = right(kind)
    new_states = {state["output"] for state in fields["states"]}
    letters = kind.axes.replace("f", "") if kind.is_scalar or kind.is_token else kind.axes
    places = {name: letters.find(name[0]) for name in ("batch", "time")}  # -1: NO_AXIS
    return Options(
        time_axis=places["time"],
        batch_axis=places["batch"],
        states={state["input"]: state["output"] for state in fields["states"]},
        no_states=(kind.name("x"),),
        per_sequence=(kind.name("static"),) if kind.static else (),
        answers=tuple(spec["name"] for spec in fields["outputs"] if spec["name"] in new_states),
        carry=CARRY if kind.carry else None,
    )


def _inputs(kind: Kind) -> list[Fields]:
    x: Fields = {"name": kind.name("x"), "dtype": kind.dtype}
    if kind.is_token:
        x |= {"kind": "token", "size": TOKENS}
    elif not kind.is_scalar:
        x |= {"dims": [FEATURES]}
    if kind.carry:
        x |= {"carry": CARRY}
    static = {"name": kind.name("static"), "dims": [STATIC], "per": "sequence"}
    return [x, static] if kind.static else [x]


def _states(kind: Kind) -> list[Fields]:
    dtypes = dict.fromkeys(kind.states, kind.state_dtype)
    dtypes |= {"count": "int64"} if kind.counts else {}
    dtypes |= {"flag": "bool"} if kind.has_flag else {}
    return [
        {
            "input": kind.name(name),
            "output": kind.name(f"{name}_out"),
            "shape": state_shape(kind, name),
            "dtype": dtype,
            **({"grows": cache_axis(kind)} if kind.grows and name == "h" else {}),
        }
        for name, dtype in dtypes.items()
    ]


def _outputs(kind: Kind) -> list[Fields]:
    y: Fields = {"name": kind.name("y"), "dims": [ANSWERS]}
    if kind.answer in ("argmax", "number"):
        y["dims"] = []
    if kind.answer == "argmax":
        y["dtype"] = "int64"
    if kind.answer == "last":
        y["steps"] = "last"
    if kind.answer == "state":
        y = _state_output(kind)
    second = {"name": kind.name("second"), "dims": [3]}
    return [y, second] if kind.has_second else [y]


def _state_output(kind: Kind) -> Fields:
    """The new state as the answer; after the last step of a call."""
    shape = state_shape(kind, "h")
    batch = shape.index("batch") if "batch" in shape else None
    dims = [size for size in shape if size != "batch"]
    if kind.has_batch and batch is None:  # a fixed batch of one row
        batch = 0 if kind.cell == "conv" else kind.state_axes.index("b")
        del dims[batch]
    axes = {"batch": batch, "time": None}
    last = {"steps": "last"} if kind.has_time else {}
    return {"name": kind.name("h_out"), "dims": dims, "dtype": kind.state_dtype, "axes": axes, **last}


def example(kind: Kind, truth: Truth, steps: Steps) -> Fields:
    """The manifest's example, from bare ONNX Runtime."""
    answer = truth.answer(steps)["h_out" if kind.answer == "state" else "y"]
    last = (
        answer
        if kind.answer == "last" or (kind.answer == "state" and kind.time in ("any", "fixed"))
        else answer[-1]
    )
    x: Any = steps.x.tolist()
    if kind.static:
        x = {kind.name("x"): x, kind.name("static"): steps.static.tolist()}
    return {
        "steps": x,
        "output": last.tolist(),
        "tolerance": 1e-3 if "float16" not in _dtypes(kind) else 0.05,
    }


def _dtypes(kind: Kind) -> set[str]:
    return {kind.dtype, kind.state_dtype}


# Each changes a right manifest in place, or returns False where the claim would not be false.


def swap_states(kind: Kind, fields: Fields) -> bool:
    if len(kind.states) < 2 or kind.time != "any":
        return False
    first, second = fields["states"][:2]
    first["output"], second["output"] = second["output"], first["output"]
    return True


def claim_causal(kind: Kind, fields: Fields) -> bool:
    fields["causal"] = True
    return not kind.can_be_cut and kind.keeps


def swap_axes(kind: Kind, fields: Fields) -> bool:
    axes = fields["axes"]
    axes["batch"], axes["time"] = axes["time"], axes["batch"]
    return kind.has_batch and kind.has_time and kind.time == "any" and not kind.rows and not kind.couples


def deny_time(kind: Kind, fields: Fields) -> bool:
    """[time, features] taken for [batch, features]."""
    fields["axes"] = {"batch": 0, "time": None}
    return kind.has_time and not kind.has_batch and kind.time == "any"


def claim_last(kind: Kind, fields: Fields) -> bool:
    fields["outputs"][0]["steps"] = "last"
    return kind.has_time and kind.answer not in ("last", "state")


def claim_all(kind: Kind, fields: Fields) -> bool:
    fields["outputs"][0]["steps"] = "all"
    return kind.answer == "last"


def widen_output(_: Kind, fields: Fields) -> bool:
    fields["outputs"][-1]["dims"] = [*fields["outputs"][-1]["dims"][:-1], 5]
    return True


def widen_state(kind: Kind, fields: Fields) -> bool:
    for state in fields["states"][:1]:
        axis = len(state["shape"]) - 1 - (state.get("grows") == len(state["shape"]) - 1)
        state["shape"][axis] = HIDDEN + 1
    return bool(kind.states)


def lower_bound(kind: Kind, fields: Fields) -> bool:
    for state in fields["states"][:1] if kind.grows else ():
        state["shape"][state["grows"]] -= 1
    return kind.grows and kind.can_be_cut


def drop_state(_: Kind, fields: Fields) -> bool:
    return bool(fields["states"]) and bool(fields["states"].pop())


def change_dtype(kind: Kind, fields: Fields) -> bool:
    fields["inputs"][0]["dtype"] = "float64" if kind.dtype != "float64" else "float32"
    return not kind.is_token


def deny_influence(kind: Kind, fields: Fields) -> bool:
    fields["axes"].pop("batch_size", None)
    return kind.couples


def expect_another_answer(_: Kind, __: Fields) -> bool:
    """In the example: see `law.place`."""
    return True


LIES: dict[str, Callable[[Kind, Fields], bool]] = {
    lie.__name__: lie
    for lie in (
        swap_states, claim_causal, swap_axes, deny_time, claim_last, claim_all, widen_output, widen_state,
        lower_bound, drop_state, change_dtype, deny_influence, expect_another_answer,
    )
}  # fmt: skip


def false(kind: Kind, lie: str) -> Fields | None:
    """The right manifest with one false claim; None if it would not be false for this kind."""
    fields = copy.deepcopy(right(kind))
    return fields if LIES[lie](kind, fields) else None
