"""Follows the model repository on disk while serving: new versions come in, those taken away retire.

Every worker process looks for itself. A folder is loaded once two looks in a row have found it the same, so
that a copy under way is not; one that cannot be served is logged and left alone until it changes. Better
still, copy beside the repository and rename.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from service.errors import StartupError
from service.manifest import GRAPH_FILE, MANIFEST_FILE
from service.repository.model import Model
from service.repository.repository import Prepared, Repository, find

Signature = tuple[tuple[int, int], ...]  # modification time and size of graph and manifest

logger = logging.getLogger(__name__)


class Reloader:
    """Keeps a repository in step with a folder."""

    def __init__(
        self,
        repository: Repository,
        root: Path,
        *,
        served: dict[Path, Signature],
        prepare: Callable[[Path], Prepared],
        on_death: Callable[[], None],
        retire_s: float,
        grace_s: float,
    ) -> None:
        self._repository = repository
        self._root = root
        self._prepare = prepare
        self._on_death = on_death
        self._retire_s = retire_s  # a retired version is unloaded when nobody has asked for it so long
        self._grace_s = grace_s  # the longest that a request may hold a model before it asks it to compute
        self._served = served  # what `look` found just before the repository was loaded
        self._seen = dict(served)
        self._stopping: set[asyncio.Task[None]] = set()

    async def check(self) -> None:
        """Look once: load and replace what is new and settled, retire what is gone."""
        found = await asyncio.to_thread(look, self._root)
        settled = [folder for folder, signature in found.items() if self._seen.get(folder) == signature]
        self._seen = found
        for folder in settled:
            if self._served.get(folder) != found[folder]:
                self._served[folder] = found[folder]
                await self._load(folder)
        for folder in [folder for folder in self._served if folder not in found]:
            del self._served[folder]
            self._repository.retire(folder.parent.name, folder.name, time.monotonic())
            logger.info("model %s version %s retires: its folder is gone", folder.parent.name, folder.name)
        for model in self._repository.take_idle(time.monotonic() - self._retire_s):
            logger.info("model %s version %s is unloaded", model.name, model.version)
            self._stop(model)

    async def _load(self, folder: Path) -> None:
        try:
            prepared = await asyncio.to_thread(self._prepare, folder)
        except StartupError as error:
            logger.error("not served: %s", error.detail)
            return
        replaced = self._repository.add(prepared.start(self._on_death))
        if replaced is not None:
            self._stop(replaced)

    def _stop(self, model: Model) -> None:
        """Let it finish what it has; only requests that found it before reach it still."""

        async def stop() -> None:
            await asyncio.sleep(self._grace_s)
            await model.worker.stop()

        task = asyncio.get_running_loop().create_task(stop())
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)


def look(root: Path) -> dict[Path, Signature]:
    """The version folders that hold a graph and a manifest, and what tells a changed one."""
    found: dict[Path, Signature] = {}
    for folder in find(root):
        try:
            stats = [(folder / name).stat() for name in (GRAPH_FILE, MANIFEST_FILE)]
        except FileNotFoundError:
            continue  # not there yet, or not any more
        found[folder] = tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)
    return found
