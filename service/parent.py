"""Ends a child process when its parent has died, by whatever means. It knows neither workers nor models."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Have the kernel kill this process as soon as its parent ends (prctl(2)); at once if it already has.

    `parent`: the process id of the parent. The thread that started this process must live as long as it: the
    kernel counts the end of that thread as the parent's.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
