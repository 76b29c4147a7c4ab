"""The fork server: its processes are told to use one thread, and our environment stays as it was."""

import os
from multiprocessing.connection import Connection

import pytest

from service import forkserver


def send_variables(pipe: Connection) -> None:
    pipe.send([os.environ.get(name) for name in forkserver.ONE_THREAD])


def test_processes_use_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in forkserver.ONE_THREAD:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    context = forkserver.start()
    assert dict(os.environ) == before
    ours, theirs = context.Pipe()
    process = context.Process(target=send_variables, args=(theirs,))
    process.start()
    theirs.close()
    assert ours.recv() == ["1", "1"]
    process.join()
    ours.close()
