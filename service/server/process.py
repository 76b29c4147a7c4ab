"""The process of a worker: the signals that reach it, and its end when the parent process has died."""

import multiprocessing
import os
import signal
import threading
from socket import socket

from uvicorn.supervisors.multiprocess import Process

from service import parent
from service.server.closing import ClosingServer

# Sent by mistake or by a terminal. Their default is to end or to stop a process.
IGNORED = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


class WorkerProcess(Process):
    """uvicorn's, which ends when its parent does.

    A parent that was killed while the worker started left a worker behind that held the port for ever.
    """

    def target(self, sockets: list[socket] | None = None) -> None:
        """Serve, in the new process."""
        _end_with_parent()
        self._server = ClosingServer(self.config)
        super().target(sockets)


def ignore_signals() -> None:
    """Ignore signals that mean nothing to a server. A process that is started later ignores them as well."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)


def _end_with_parent() -> None:
    """End this process by SIGKILL when its parent has ended, which may be the case already.

    Sessions are safe, and the next server finds the port free, even if this process hangs or is stopped.
    """
    started_by = multiprocessing.parent_process()
    assert started_by is not None and started_by.pid is not None
    parent.end_with(started_by.pid)

    def wait() -> None:
        """The parent's end of a pipe is closed with it: this works where the kernel sends no signal."""
        started_by.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="parent", daemon=True).start()
