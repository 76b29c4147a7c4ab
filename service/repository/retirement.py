"""Decides when a version whose folder was deleted is unloaded: when no session is on it any more.

It also deletes the copies of such versions. Every worker decides for itself; a copy is deleted one interval
after its version was unloaded, so that a session that another worker has started meanwhile still has it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection

from service.errors import StartupError
from service.repository.model import Model
from service.repository.opening import VersionLoader
from service.repository.repository import Repository
from service.repository.retained import RetainedCopies
from service.sessions import Binding

logger = logging.getLogger(__name__)


class Retirement:
    """Unloads retired versions, and deletes copies that are not needed."""

    def __init__(
        self,
        repository: Repository,
        loader: VersionLoader,
        copies: RetainedCopies | None,
        find_on: Callable[[Collection[Binding]], Awaitable[set[Binding]]],
        *,
        retire_s: float,
        stop: Callable[[Model], None],
        clock: Callable[[], float] = time.monotonic,
        unloaded: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        """`find_on`: those of some graphs that a live session is on.

        `retire_s`: how long no request has named a version before it is examined, in s of `clock`, which is
        that of the repository. `unloaded`: the models that are not to be loaded; their copies stay.
        """
        self._repository = repository
        self._loader = loader
        self._copies = copies
        self._find_on = find_on
        self._retire_s = retire_s
        self._stop = stop
        self._clock = clock
        self._are_unloaded = unloaded
        self._unloaded: dict[Binding, float] = {}  # copies of what is not loaded, and since when

    async def load_retained(self) -> None:
        """At a start: load what only a copy has, or what can be loaded only from its copy."""
        for binding in self._copies or ():
            is_loaded = (binding.model, binding.version) in self._repository
            if not is_loaded and binding.model not in self._are_unloaded():
                await self._load(binding)

    async def check(self) -> None:
        """Unload retired versions without a session, and delete unneeded copies. Raises OSError."""
        now = self._clock()
        idle = {model.binding: model for model in self._repository.idle(now - self._retire_s)}
        self._unloaded = {
            binding: self._unloaded.get(binding, now) for binding in await self._copies_of_unloaded()
        }
        old = [binding for binding, since in self._unloaded.items() if since < now - self._retire_s]
        if not idle and not old:
            return
        held = await self._find_on({*idle, *old})
        for binding, model in idle.items():
            if binding in held:
                self._repository.postpone(model, now)
            elif model in self._repository.idle(now - self._retire_s):  # still: neither named nor replaced
                self._repository.remove(model)
                self._unloaded[model.binding] = now
                logger.info("model %s version %s is unloaded", model.name, model.version)
                self._stop(model)
        for binding in old:
            if binding not in held:
                assert self._copies is not None
                await asyncio.to_thread(self._copies.remove, binding)
                logger.info("the copy of model %s version %s is deleted", binding.model, binding.version)
            elif (binding.model, binding.version) not in self._repository:
                await self._load(binding)

    async def _copies_of_unloaded(self) -> list[Binding]:
        if self._copies is None:
            return []
        loaded, unloaded = {model.binding for model in self._repository}, self._are_unloaded()
        copies = await asyncio.to_thread(list, self._copies)
        return [each for each in copies if each not in loaded and each.model not in unloaded]

    async def _load(self, binding: Binding) -> None:
        """Serve a version from its copy, as a retired one."""
        assert self._copies is not None
        try:
            prepared = await asyncio.to_thread(self._loader.prepare, self._copies.folder(binding))
        except (StartupError, OSError) as error:
            logger.error("not served to its sessions: %s", error)
            return
        if prepared.binding != binding:
            logger.error("%s: the copy was changed; it is not served", self._copies.folder(binding))
            return
        self._repository.add(self._loader.start(prepared))
        self._repository.retire(binding.model, binding.version, self._clock())
        logger.info("model %s version %s retires: only its copy is left", binding.model, binding.version)
