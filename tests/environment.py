"""The environment of the tests: a user's variables never decide what a test sees. Knows no test."""

import signal
from collections.abc import MutableMapping

# Of what the tests start, these decide the text, the colours, the time zone, or the number of processes.
TEXT = ("LANG", "LANGUAGE", "LC_", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "TTY_", "TZ")
TOOLS = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "HOST", "PORT", "MASTER_ADDR", "LOCAL_RANK", "WORLD_SIZE")
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")  # those that pip obeys for an index
KEPT = ("CELLGATE_DATA_DIR", "PYTHONPATH", "PYTHONHOME", "PYTHONPYCACHEPREFIX")
PREFIXES = ("CELLGATE_", "PYTHON", "REDIS_", "KERAS_", "OTEL_", *TEXT)


def isolate(environ: MutableMapping[str, str]) -> None:
    """Remove what would change or slow down a test: each process would compile `service`, and the threads
    of PyTorch would wait for each other in small networks.

    Downloads by pip keep their proxy: tests speak to this host only.
    """
    proxy = next((environ[name] for name in PROXIES if environ.get(name)), None)
    for name in list(environ):
        is_proxy = name.lower().endswith("_proxy") and not name.startswith("PIP_")
        if is_proxy or name in TOOLS or (name.startswith(PREFIXES) and name not in KEPT):
            del environ[name]
    if proxy:
        environ.setdefault("PIP_PROXY", proxy)
    environ["LC_ALL"] = "C.UTF-8"
    environ["OMP_NUM_THREADS"] = "1"


def heed_signals() -> None:
    """Undo `nohup` and a shell's `&`: what is started with SIGINT or SIGHUP ignored goes on ignoring it."""
    for each in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(each) is signal.SIG_IGN:
            signal.signal(each, signal.default_int_handler if each is signal.SIGINT else signal.SIG_DFL)
