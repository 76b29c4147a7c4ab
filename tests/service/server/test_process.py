"""Child processes end with their parent, also if it has died before they ask for it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.server import process

ROOT = Path(__file__).parents[3]


def test_a_child_whose_parent_is_already_dead_ends_at_once() -> None:
    code = "from service import parent; parent.end_with(1 << 22); print('goes on')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_a_child_ends_when_its_parent_is_killed() -> None:
    """The grandchild holds the write end of a pipe: its end closes it."""
    child = (
        "import os, time; from service import parent; parent.end_with(os.getppid()); "
        "print('ready', flush=True); time.sleep(600)"
    )
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        started.kill()
        assert started.stdout.read() == b""


@pytest.mark.parametrize("number", process.IGNORED)
def test_ignored_signals_are_ignored_by_later_processes_too(number: signal.Signals) -> None:
    """Such as a worker that has not got as far as to ignore them itself."""
    before = {each: signal.getsignal(each) for each in process.IGNORED}
    try:
        process.ignore_signals()
        os.kill(os.getpid(), number)
        code = f"import os; os.kill(os.getpid(), {int(number)}); print('goes on')"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.stdout == "goes on\n"
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
