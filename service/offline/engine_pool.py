"""One process with the engine for each CPU: blocks in, encoded answers out.

    run ── block ──→ process: decode, engine, encode ── answers ──→ run

A process holds a model with one ONNX Runtime thread, as a worker of the server does. It knows pipes and
processes; where the blocks come from it does not know.
"""

import contextlib
import queue
import signal
from multiprocessing.connection import Connection

from service import forkserver, memory
from service.errors import CellgateError, StartupError
from service.offline.answering import EngineTask, answerer
from service.offline.block import Answered, Block
from service.offline.transfer import Region, receive, send


class EngineProcess:
    """One process; used by one thread at a time."""

    def __init__(self, task: EngineTask) -> None:
        context = forkserver.start()
        self._pipe, theirs = context.Pipe()
        self._region = Region()
        self._process = context.Process(target=_serve, args=(theirs, self._region, task), daemon=True)
        self._process.start()
        theirs.close()

    def answer(self, block: Block) -> Answered:
        """The answers of a block. Raises StartupError if the process cannot run the model, or has ended."""
        try:
            send(self._pipe, block, self._region)
            reply = receive(self._pipe)
        except (EOFError, OSError) as error:
            self._process.join(5)
            raise StartupError(
                f"a process of the engine has ended, exit code {self._process.exitcode}: out of memory?"
            ) from error
        if isinstance(reply, str):
            raise StartupError(reply)
        return reply  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._region.close()


class EnginePool:
    """Some such processes; any of their threads may ask for answers."""

    def __init__(self, task: EngineTask, num_processes: int) -> None:
        self.num_at_once = num_processes
        self._all = [EngineProcess(task) for _ in range(num_processes)]
        self._free: queue.SimpleQueue[EngineProcess] = queue.SimpleQueue()
        for process in self._all:
            self._free.put(process)

    def answer(self, block: Block) -> Answered:
        """The answers of a block, by the next process that is free. Raises StartupError."""
        process = self._free.get()
        try:
            return process.answer(block)
        finally:
            self._free.put(process)

    def close(self) -> None:
        """End all of them."""
        for process in self._all:
            process.close()


def _serve(pipe: Connection, region: Region, task: EngineTask) -> None:
    """The main function of a process. It ends with the process that started it."""
    memory.keep_freed()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the run ends this process
    with contextlib.suppress(EOFError, OSError):
        _answer_all(pipe, region, task)


def _answer_all(pipe: Connection, region: Region, task: EngineTask) -> None:
    """Answer blocks until the other end is closed. Raises EOFError or OSError then."""
    try:
        answer = answerer(task)
    except CellgateError as error:
        receive(pipe, region)
        send(pipe, error.detail)
        return
    while True:
        send(pipe, answer(receive(pipe, region)))
