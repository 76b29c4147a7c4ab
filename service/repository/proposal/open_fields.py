"""The fields of a draft that are open, each written "?", and the words that explain them.

`cellgate inspect` and a load of the draft use the same words.
"""

from collections.abc import Iterator
from typing import Any

OPEN = "?"
Path = tuple[str | int, ...]


def open_fields(document: Any) -> list[str]:
    """An explanation for each open field of a manifest's JSON document."""
    if not isinstance(document, dict):
        return []
    return [f"{'.'.join(map(str, path))} is open: {_explain(document, path)}" for path in _find(document, ())]


def _find(value: Any, path: Path) -> Iterator[Path]:
    if value == OPEN:
        yield path
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _find(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _find(each, (*path, index))


def _explain(document: dict[str, Any], path: Path) -> str:
    owner = _owner(document, path)
    name = repr(owner.get("name", owner.get("input", path[-1])))
    match path[0], *path[2:]:
        case "states", "output":
            return (
                f"which output is the new value of state {name}? Settle it with --state {name[1:-1]}=OUTPUT"
            )
        case "states", "shape", *_ if _sizes_are_open(document):
            return f"the shape of state {name} follows sizes that the graph does not fix: see inputs"
        case "states", "shape", *_:
            return f"state {name} changes its shape. Export the graph with a cache of fixed size"
        case "constants", *_ if len(path) > 1:
            return (
                f"the graph takes {path[1]!r}, and only its documentation says which value. Settle it with "
                f"--constant {path[1]}=VALUE"
            )
        case "inputs", "dims", *_:
            return _explain_dims(document, owner, name[1:-1])
        case "outputs", "dims", *_:
            return f"the graph does not fix the shape of output {name}; it is measured once the graph runs"
        case "outputs", "labels":
            return f"the labels of output {name} have no names. Settle it with --labels A,B,…"
        case (("inputs" | "outputs" | "states"), "dtype"):
            return f"the dtype of {name} cannot be served. Cast it in the graph"
        case "axes", *_:
            return f"which axis is {path[-1]}? Settle it with --time-axis and --batch-axis"
        case "example", *_:
            return "settle the other fields; then cellgate inspect GRAPH -o FOLDER computes it"
    return "it must be filled in"


def _sizes_are_open(document: dict[str, Any]) -> bool:
    return any(OPEN in spec.get("dims", ()) for spec in document["inputs"])


def _explain_dims(document: dict[str, Any], owner: dict[str, Any], name: str) -> str:
    """All dims have to be given, as one option; with a time axis behind them, that axis is settled too."""
    dims = ["SIZE" if size == OPEN else str(size) for size in owner["dims"]]
    option = f"--dims {name}={','.join(dims)}"
    if isinstance(time := document["axes"]["time"], int) and time > 1:
        option = f"--time-axis none {option}"
    if len(dims) == 1 and time is None and owner.get("dtype", "").startswith("float"):
        option += ", or if a step is a window of samples: --window SIZE --hop SIZE"
    return f"the graph does not fix a step's shape of {name!r}. Settle it with {option}"


def _owner(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """The input, output or state that a field belongs to."""
    owner: Any = document
    for key in path[:2]:
        owner = owner[key]
    return owner if isinstance(owner, dict) else {}
