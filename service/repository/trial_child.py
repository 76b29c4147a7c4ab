"""The child process of a trial: loads one version as the server would, and prints its verdict.

    python -m service.repository.trial_child '{"folder": …}'

Its limits are those of the request. A crash is the parent's to see.
"""

import json
import math
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from service import memory, parent
from service.engine import CPU, Batching, choose_provider
from service.engine.graph import load_session
from service.errors import StartupError
from service.manifest import GRAPH_FILE
from service.repository.limits import limit_memory, prefer_to_end
from service.repository.load import Hardware, Loader
from service.repository.opening import prepare_snapshot
from service.repository.snapshot import Snapshot, num_bytes
from service.repository.trial import Request, Verdict

NICENESS = 5  # the server's own processes come first
MEMORY_WORDS = (
    "bad_alloc",
    "bad allocation",
    "Failed to allocate",
    "cannot allocate",
    "MemoryError",
)  # of ONNX Runtime


def main(arguments: list[str]) -> None:
    """Carry out the request in the first argument; print the verdict, and exit at once."""
    fields = json.loads(arguments[0])
    parent.end_with(fields["parent"])
    request = Request(**fields | {"batching": Batching(**fields["batching"])})
    try:
        _limit(request)
        verdict = try_out(request)
    except StartupError as error:  # such as a file that has just been deleted
        verdict = Verdict(error.detail)
    sys.stdout.write(json.dumps(asdict(verdict)))
    sys.stdout.flush()
    os._exit(0)  # what a graph may break at the exit is of no interest


def try_out(request: Request) -> Verdict:
    """Load the version. The verdict says why it cannot be served, if so."""
    folder = Path(request.folder)
    try:
        snapshot = Snapshot.read(folder)
        if snapshot.digest != request.digest:
            return Verdict(f"{folder}: it has changed while it was being loaded")
        loader = Loader(request.batching, Hardware(request.provider, request.threads))
        prepare_snapshot(loader, snapshot, request.optimization)
    except StartupError as error:
        if any(word in error.detail for word in MEMORY_WORDS):
            return _too_large(request)
        return Verdict(error.detail, may_pass_below=not _opens(request, snapshot))
    return Verdict()


def _opens(request: Request, snapshot: Snapshot) -> bool:
    """Whether ONNX Runtime can open the graph at this level: then fewer optimizations do not help."""
    try:
        load_session(
            snapshot.folder / GRAPH_FILE,
            choose_provider(request.provider),
            request.threads,
            content=snapshot.content,
            optimization=request.optimization,
        )
    except StartupError:
        return False
    return True


def _too_large(request: Request) -> Verdict:
    return Verdict(
        f"loading it takes more than {request.max_bytes} bytes of memory (model_trial_bytes), besides 4 "
        "times the size of its files",
        is_harmful=True,
    )


def _limit(request: Request) -> None:
    """Limit the time, and on the CPU the memory: CUDA maps far more than it uses."""
    signal.alarm(math.ceil(request.seconds) + 1)  # should the parent not do it
    os.nice(NICENESS)
    prefer_to_end()
    most = min(request.max_bytes + 4 * num_bytes(Path(request.folder)), memory.usable())
    limit_memory(most if choose_provider(request.provider) == CPU else None)


if __name__ == "__main__":
    main(sys.argv[1:])
