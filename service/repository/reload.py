"""Follows the model folder on disk while serving: new versions are loaded, deleted ones retire.

Every worker process scans for itself: the manifest, the graph, and the files that the graph names. A folder
is loaded once two scans in a row have found it unchanged, so that an unfinished copy is not loaded; a version
that cannot be served is logged and ignored until one of these files changes. Copying beside the model folder
and renaming is safer still.

Which version is the default, all workers decide together: `rollout`. When a retired version is unloaded, its
sessions decide: `retirement`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from service.errors import StartupError
from service.repository.folders import find_versions
from service.repository.model import Model
from service.repository.opening import VersionLoader
from service.repository.policy import Policies
from service.repository.repository import Repository
from service.repository.snapshot import Signature, signature

Scan = dict[Path, Signature]  # by version folder

logger = logging.getLogger(__name__)


class Reloader:
    """Keeps a repository in step with a folder."""

    def __init__(
        self,
        repository: Repository,
        root: Path,
        loader: VersionLoader,
        *,
        loaded: Scan,
        stop: Callable[[Model], None],
        policies: Policies | None = None,
        announce: Callable[[], Awaitable[None]] | None = None,
        every_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`loaded`: the scan made just before the repository was loaded; `stop`: of a replaced model.

        `announce`: tells the other workers which versions are being loaded, before one is served.
        `every_s`: between two scans of `follow`; 0: it scans only where a policy has changed.
        """
        self._repository = repository
        self._root = root
        self._loader = loader
        self._stop = stop
        self._loaded = loaded
        self._last_scan = dict(loaded)
        self._policies = policies or Policies(root)
        self._announce = announce
        self._num_changes = self._policies.num_changes  # of policies, at the last scan
        self._every_s = every_s
        self._clock = clock
        self._next = clock() + every_s

    async def follow(self) -> None:
        """Unload what is to be unloaded, and scan when it is time. To be called often, one call at a time."""
        self._unload()
        is_due = self._every_s and self._clock() >= self._next
        if is_due or self._num_changes != self._policies.num_changes:
            self._next = self._clock() + self._every_s
            await self.check()

    def _unload(self) -> None:
        for name in self._policies.unloaded():
            if not self._repository.is_unloaded(name):
                continue  # not yet: all workers stop to answer at the same moment
            for folder in [folder for folder in self._loaded if folder.parent.name == name]:
                del self._loaded[folder]
                self._repository.mark(name, folder.name, None)
            for model in [model for model in self._repository if model.name == name]:
                self._repository.remove(model)
                self._stop(model)
                logger.info("model %s version %s is unloaded, as its policy says", name, model.version)

    async def check(self) -> None:
        """Scan once: load what is new or changed and complete, retire what has been deleted."""
        await asyncio.to_thread(self._policies.read)
        self._num_changes = self._policies.num_changes
        on_disk = await asyncio.to_thread(scan, self._root)
        unloaded = self._policies.unloaded()
        current = {folder: signed for folder, signed in on_disk.items() if folder.parent.name not in unloaded}
        complete = [folder for folder in current if self._last_scan.get(folder) == current[folder]]
        self._last_scan = on_disk
        changed = [folder for folder in complete if self._loaded.get(folder) != current[folder]]
        self._loaded.update({folder: current[folder] for folder in changed})
        for folder in changed:
            self._repository.mark(folder.parent.name, folder.name, "loading")
        if changed and self._announce is not None:
            await self._announce()  # a client may send its next request to any of them
        await asyncio.gather(*map(self._load, changed))  # one whose trial hangs does not delay the others
        for folder in [folder for folder in self._loaded if folder not in on_disk]:
            del self._loaded[folder]
            name, version = folder.parent.name, folder.name
            self._repository.mark(name, version, None)
            self._repository.retire(name, version, time.monotonic())
            logger.info("model %s version %s retires: its folder was deleted", name, version)

    async def _load(self, folder: Path) -> None:
        try:
            prepared = await asyncio.to_thread(self._loader.prepare, folder)
        except (StartupError, OSError) as error:  # OSError: the folder is being deleted
            logger.error("not served: %s", error)
            self._repository.mark(folder.parent.name, folder.name, "failed")
            return
        replaced = self._repository.add(self._loader.start(prepared))
        if replaced is not None:
            self._stop(replaced)


class Stopping:
    """Stops models that are served no longer, once the requests that looked them up have reached them."""

    def __init__(self, grace_s: float) -> None:
        """`grace_s`: the longest time between a request's look-up of a model and its use of it."""
        self._grace_s = grace_s
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, model: Model) -> None:
        """Stop a model later."""
        task = asyncio.get_running_loop().create_task(self._stop(model))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stop(self, model: Model) -> None:
        await asyncio.sleep(self._grace_s)
        await model.worker.stop()


def scan(root: Path, unloaded: Collection[str] = ()) -> Scan:
    """The version folders that hold a graph and a manifest, each with a signature that changes with them.

    `unloaded`: models that are left out.
    """
    folders = [folder for folder in find_versions(root) if folder.parent.name not in unloaded]
    signatures = {folder: signature(folder) for folder in folders}
    return {folder: signed for folder, signed in signatures.items() if signed is not None}
