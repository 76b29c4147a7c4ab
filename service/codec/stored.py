"""The reply that a session stores for a retry, when it comes from outside: an imported file may be forged.

A reply is taken over by its fields, written anew, so that a later response holds only what this server could
have written. It knows the forms in which `reply` and `v2` write; it knows nothing of sessions or files.
"""

import math
import re
from typing import Any

import numpy as np
import orjson

from service.codec.tensor import DATATYPES
from service.codec.v2 import pack_outputs, unpack_outputs
from service.manifest import Manifest, OutputSpec
from service.names import MODEL_NAME, MODEL_VERSION
from service.sequence import Array

_V2_PREFIX = "v2/"  # of the sessions of `/v2`, see `names`
_PREDICTION = {"output", "outputs", "forecast", "estimate", "label", "probability", "labels"}
_PREDICTION |= {"session", "step", "state"}
_INSIDE = {"states", "gates"}  # beside an output, or in its place
_GATE = {"layer": int, "direction": str, "gate": str}  # the fields of one, without its values
_GENERATION = {"model", "version", "ids", "seed", "tokens", "text", "session", "step", "state"}
_TOKEN = re.compile(r"[A-Za-z0-9_-]*")  # of a state; its signature is checked when it is used
_MAX_AXES = 8  # of an output


def regenerate(reply: bytes, *, session: str, step: int, manifest: Manifest) -> bytes | None:
    """The reply written anew, or None if it is not one of this session at this step."""
    try:
        if session.startswith(_V2_PREFIX):
            return _outputs(reply, step, manifest)
        return _document(orjson.loads(reply), session, step)
    except Exception:  # noqa: BLE001  of bytes of any kind, in numpy too
        return None


def last_outputs(reply: bytes, session: str, step: int, manifest: Manifest) -> dict[int, Array]:
    """The outputs of the last step in a stored reply that has them, by index, each [1, *dims]."""
    try:
        if session.startswith(_V2_PREFIX):
            _, stored_step, named = unpack_outputs(reply, manifest.outputs[0].name)
        else:
            document = orjson.loads(reply)
            stored_step = document["step"]
            named = document.get("outputs") or {manifest.outputs[0].name: document["output"]}
    except Exception:  # noqa: BLE001  no reply, or one of another kind, such as a generated text
        return {}
    if stored_step != step:
        return {}
    outputs = {
        index: _last_step(named[spec.name], spec)
        for index, spec in enumerate(manifest.outputs)
        if spec.name in named
    }
    return {index: output for index, output in outputs.items() if output is not None}


def _last_step(value: Any, spec: OutputSpec) -> Array | None:
    """[1, *dims] of an output of one step or of several; None if a number is missing."""
    output = np.array(value, np.float64)
    steps = output.reshape(-1, *spec.dims) if output.size else output
    if not output.size or not np.isfinite(steps[-1]).all():
        return None
    return steps[-1:].astype(spec.dtype)


def _document(document: Any, session: str, step: int) -> bytes | None:
    if not isinstance(document, dict) or (document.get("session"), document.get("step")) != (session, step):
        return None
    if type(document["step"]) is not int:  # 4.0 == 4
        return None
    names = set(document)
    if names <= _PREDICTION | _INSIDE:
        num_outputs = len(names & {"output", "outputs"})
        has_one = num_outputs == 1 or (num_outputs == 0 and not names.isdisjoint(_INSIDE))
        is_ours = has_one and _is_prediction(document) and _is_inside(document)
    else:
        is_ours = names <= _GENERATION and _is_generation(document)
    is_ours = is_ours and _matches(_TOKEN, document.get("state", ""))
    return orjson.dumps(document) if is_ours else None


def _is_prediction(document: dict[str, Any]) -> bool:
    outputs = document.get("outputs", {"": document.get("output")})
    return (
        isinstance(outputs, dict)
        and all(_is_nested(output, (int, float)) for output in outputs.values())
        and _is_nested(document.get("label"), (str,))
        and _is_nested(document.get("probability"), (int, float))
        and _are_labels(document.get("labels", []))
        and _is_by_name(document.get("forecast", {}), levels=3)  # feature, steps, quantile
        and _is_by_name(document.get("estimate", {}), levels=2)  # target, quantile
    )


def _are_labels(labels: Any) -> bool:
    """Whether it is entries of labels, or lists of them, or null for steps without any."""
    if isinstance(labels, list):
        return all(each is None or _are_labels(each) for each in labels)
    return (
        isinstance(labels, dict)
        and labels.keys() == {"label", "probability"}
        and isinstance(labels["label"], str)
        and isinstance(labels["probability"], (int, float))
    )


def _is_inside(document: dict[str, Any]) -> bool:
    """Whether its states are numbers by name, and its gates a list of such with their names."""
    states, gates = document.get("states", {}), document.get("gates", [])
    return (
        isinstance(states, dict)
        and all(_is_nested(values, (int, float)) for values in states.values())
        and isinstance(gates, list)
        and all(map(_is_gate, gates))
    )


def _is_gate(gate: Any) -> bool:
    return (
        isinstance(gate, dict)
        and set(gate) == {*_GATE, "values"}
        and all(type(gate[name]) is kind for name, kind in _GATE.items())
        and _is_nested(gate["values"], (int, float))
    )


def _is_by_name(document: Any, *, levels: int) -> bool:
    """Whether it is numbers, or lists of them, below so many levels of names."""
    entries = [document]
    for _ in range(levels):
        if not all(isinstance(entry, dict) for entry in entries):
            return False
        entries = [each for entry in entries for each in entry.values()]
    return all(_is_nested(number, (int, float)) for number in entries)


def _is_generation(document: dict[str, Any]) -> bool:
    ids = document["ids"]
    return (
        isinstance(ids, list)
        and all(type(token) is int for token in ids)
        and type(document["seed"]) is int
        and _matches(MODEL_NAME, document["model"])
        and _matches(MODEL_VERSION, document["version"])
        and _is_nested(document.get("tokens"), (str,))
        and isinstance(document.get("text", ""), str)
    )


def _is_nested(value: Any, leaves: tuple[type, ...], axes: int = _MAX_AXES) -> bool:
    """Whether it is a leaf, null, or lists of these, at most `axes` deep."""
    if isinstance(value, list):
        return axes > 0 and all(_is_nested(item, leaves, axes - 1) for item in value)
    return value is None or isinstance(value, leaves)


def _outputs(reply: bytes, step: int, manifest: Manifest) -> bytes | None:
    """The arrays of `v2.pack_outputs`, where each is an output of the model with one row."""
    version, stored_step, outputs = unpack_outputs(reply, manifest.outputs[0].name)
    specs = {spec.name: spec for spec in manifest.outputs}
    if type(stored_step) is not int or stored_step != step or not _matches(MODEL_VERSION, version):
        return None
    for name, array in outputs.items():
        shape = array.shape
        if name not in specs or shape[:1] != (1,) or shape[2:] != tuple(specs[name].dims):
            return None
        if array.dtype.name not in DATATYPES or math.prod(shape) == 0:
            return None
        if array.dtype.kind == "b" and (array.view(np.uint8) > 1).any():
            return None
    packed = pack_outputs(version, step, outputs)
    return packed if packed == reply else None


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
