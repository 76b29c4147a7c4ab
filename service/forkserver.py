"""Processes with the engine, forked from one that has imported it: each starts within milliseconds.

It is Python's own fork server, which is started once and ends with this process. What is imported there
starts no work in other threads before a model is loaded, so that it can be forked. polars does: each process
imports it by itself.
"""

import multiprocessing
import os
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

PRELOADED = ["service.offline.answering"]
# Each process has a CPU of its own: libraries that start a thread for each CPU would only compete.
ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def start() -> ForkServerContext:
    """Start the server, unless it runs. It imports while the caller continues."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    added = ONE_THREAD.keys() - os.environ.keys()  # the user's own settings stay
    os.environ.update({name: ONE_THREAD[name] for name in added})
    try:
        forkserver.ensure_running()
    finally:
        for name in added:
            del os.environ[name]
    return context
