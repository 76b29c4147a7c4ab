"""The limits of a child process that runs a graph which may crash ONNX Runtime, or eat memory."""

import contextlib
import resource

PAGE = resource.getpagesize()


def limit_memory(max_bytes: int | None) -> None:
    """Dump no core, and allocate no more from now on (None: any number). A lower limit that is set stays."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if max_bytes is None:
        return
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[5]) * PAGE
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = used + max_bytes if hard == resource.RLIM_INFINITY else min(used + max_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def prefer_to_end() -> None:
    """If memory runs out, this process ends, not the server. Some sandboxes refuse to say so."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
