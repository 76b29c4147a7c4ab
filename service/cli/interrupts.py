"""Signals that end a command as Ctrl-C does, so that it cleans up."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def as_ctrl_c(*signals: signal.Signals) -> Iterator[None]:
    """These signals raise KeyboardInterrupt. One that is ignored, as by `nohup`, stays so.

    In another thread than the main one, where Python allows no handlers, nothing changes.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    heard = [each for each in signals if is_main and signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, interrupt) for each in heard}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
