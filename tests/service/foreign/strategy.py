"""Draws kinds of graphs with Hypothesis: every combination that makes sense."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from tests.service.foreign.kind import STYLES, Kind
from tests.service.foreign.manifests import LIES, false

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "bool")


def _sometimes(one_in: int) -> st.SearchStrategy[bool]:
    return st.integers(1, one_in).map(lambda number: number == one_in)


_ANY = st.builds(
    Kind,
    cell=st.sampled_from(["lstm", "gru", "rnn", "lstm", "gru", "sum", "conv", "attention", "none"]),
    axes=st.sampled_from(["btf", "btf", "tbf", "bft", "tf", "bf", "f"]),
    has_states=st.sampled_from([True, True, True, False]),
    state_axes=st.sampled_from(["1bh", "bh", "b1h", "2bh"]),
    state_dtype=st.sampled_from(["float32", "float32", "float32", "float16", "float64"]),
    dtype=st.sampled_from(["float32", "float32", "float32", "float16", "float64", *INTEGERS]),
    is_scalar=_sometimes(6),
    is_token=_sometimes(6),
    time=st.sampled_from(["any", "any", "any", "one", "fixed"]),
    rows=st.sampled_from([None, None, None, 1, 3]),
    ahead=st.sampled_from(["", "", "", "", "reverse", "bidirectional", "mean"]),
    answer=st.sampled_from(["head", "head", "head", "number", "argmax", "state", "last"]),
    has_second=_sometimes(4),
    static=_sometimes(5),
    lengths=st.sampled_from(["", "", "", "int32", "int64"]),
    counts=_sometimes(6),
    has_flag=_sometimes(6),
    carry=_sometimes(6),
    grows=st.booleans(),
    couples=_sometimes(8),
    style=st.integers(0, len(STYLES)),
    seed=st.integers(0, 2**16),
)


def kinds() -> st.SearchStrategy[Kind]:
    """A graph that a manifest can describe."""
    return _ANY.map(_sensible)


def _sensible(kind: Kind) -> Kind:
    """Without the combinations that no graph can have, or no exporter writes."""
    for fix in (_fix_axes, _fix_cell, _fix_input, _fix_cache, _fix_answer, _fix_extras):
        kind = replace(kind, **fix(kind))
    return kind


def _fix_axes(kind: Kind) -> dict[str, Any]:
    return ({} if kind.has_time else {"time": "none"}) | ({} if kind.has_batch else {"rows": None})


def _fix_cell(kind: Kind) -> dict[str, Any]:
    is_recurrent = kind.cell in ("lstm", "gru", "rnn")
    fixed: dict[str, Any] = {}
    if kind.cell != "lstm" and kind.state_axes == "2bh":
        fixed["state_axes"] = "bh"
    if kind.time in ("one", "none") or (not is_recurrent and kind.ahead != "mean"):
        fixed["ahead"] = ""  # a single step has nothing ahead
    if fixed.get("ahead", kind.ahead) == "bidirectional" or kind.cell == "none":
        fixed["has_states"] = False
    elif kind.time in ("one", "none") and is_recurrent:
        fixed["has_states"] = True
    return fixed


def _fix_input(kind: Kind) -> dict[str, Any]:
    if kind.is_token:
        return {"is_scalar": False, "carry": False, "dtype": "int32" if kind.dtype == "int32" else "int64"}
    return {"carry": kind.carry and not kind.is_scalar and not kind.ahead}


def _fix_cache(kind: Kind) -> dict[str, Any]:
    """Attention fills its cache; a convolution may have one that is full of zeros at step 0."""
    is_cache = kind.cell in ("conv", "attention") and bool(kind.states)
    return {"grows": is_cache and (kind.grows or kind.cell == "attention")}


def _fix_answer(kind: Kind) -> dict[str, Any]:
    is_single = kind.time in ("one", "none")
    if (kind.answer == "state" and (not kind.states or kind.grows)) or (kind.answer == "last" and is_single):
        return {"answer": "head"}
    return {}


def _fix_extras(kind: Kind) -> dict[str, Any]:
    is_recurrent = kind.cell in ("lstm", "gru", "rnn")
    follows = kind.answer in ("head", "number", "argmax")
    is_free = kind.has_batch and kind.time == "any" and kind.rows is None
    lengths = kind.lengths if is_recurrent and is_free and follows and not kind.ahead else ""
    counts = kind.counts and not kind.ahead and not lengths
    rows = 1 if counts and kind.has_batch else kind.rows  # the counter has no batch axis
    couples = kind.couples and is_recurrent and kind.has_batch and rows is None
    return {
        "lengths": lengths,
        "counts": counts,
        "rows": rows,
        "has_flag": kind.has_flag and kind.time in ("one", "none"),
        "couples": couples and not lengths and not kind.ahead,
    }


@st.composite
def cases(draw: st.DrawFn) -> tuple[Kind, str]:
    """A graph and a false claim about it, or none."""
    kind = draw(kinds())
    lies = [lie for lie in sorted(LIES) if false(kind, lie) is not None]
    return kind, draw(st.sampled_from([*[""] * len(lies), *lies]))
