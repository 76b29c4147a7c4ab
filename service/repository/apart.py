"""Proposes in a child process: a graph that crashes ONNX Runtime, hangs or eats memory gets a draft too.

    python -m service.repository.apart GRAPH BYTES PARENT < options        the child

Such a draft is made from the file alone, and says how the child ended.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from service import parent
from service.errors import StartupError
from service.manifest import Manifest
from service.repository.graph_file import GraphFile
from service.repository.limits import limit_memory
from service.repository.proposal.options import Options
from service.repository.propose import Draft, propose, unmeasured

SECONDS = 120.0
MAX_BYTES = 8 << 30  # of memory, besides what the interpreter has


def propose_apart(
    graph: Path, options: Options | None = None, *, seconds: float = SECONDS, max_bytes: int = MAX_BYTES
) -> Draft:
    """As `propose`, whatever the graph does. Raises StartupError only if the file is not an ONNX graph."""
    GraphFile.read(graph)
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "service.repository.apart",
            str(graph.absolute()),
            str(max_bytes),
            str(os.getpid()),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        answer, _ = child.communicate(json.dumps(asdict(options or Options())).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return unmeasured(graph, f"the graph does not end within {seconds:g} s, so it cannot be served")
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        return unmeasured(graph, f"ONNX Runtime ends with {name} on this graph, so it cannot be served")
    try:
        return _read(json.loads(answer))
    except ValueError:
        return unmeasured(graph, f"the process that ran the graph ended with status {child.returncode}")


def _read(report: dict[str, object]) -> Draft:
    text, complete = str(report["text"]), bool(report["complete"])
    opened, notes = (tuple(map(str, _list(report[key]))) for key in ("open", "notes"))
    return Draft(json.loads(text), opened, notes, Manifest.model_validate_json(text) if complete else None)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def main(arguments: list[str]) -> None:
    """The child: options as JSON on stdin, the draft as JSON on stdout."""
    graph, max_bytes = Path(arguments[0]), int(arguments[1])
    parent.end_with(int(arguments[2]))
    fields = json.load(sys.stdin)
    fields["dims"] = {name: tuple(dims) for name, dims in fields["dims"].items()}
    limit_memory(max_bytes)
    try:
        draft = propose(graph, Options(**fields | {"labels": tuple(fields["labels"])}))
    except (StartupError, MemoryError) as error:
        draft = unmeasured(graph, getattr(error, "detail", "the graph needs too much memory"))
    report = {
        "text": draft.text,
        "open": draft.open,
        "notes": draft.notes,
        "complete": draft.manifest is not None,
    }
    sys.stdout.write(json.dumps(report))
    sys.stdout.flush()
    os._exit(0)  # what a graph may break at the exit is of no interest


if __name__ == "__main__":
    main(sys.argv[1:])
