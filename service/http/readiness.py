"""Whether this process would answer a prediction now: one answer for the health routes and the gate."""

from service.errors import Draining
from service.repository import Repository
from service.sessions import Store


class Readiness:
    """Ready until `is_draining` is set, as long as every model and the session store answer."""

    def __init__(self, repository: Repository, store: Store) -> None:
        self._repository = repository
        self._store = store
        self.is_draining = False

    async def check(self, *, sessions: bool = True) -> None:
        """Raises Draining or, where `sessions` count, StoreUnavailable."""
        if self.is_draining or not self._repository.is_alive:
            raise Draining("the server is starting or stopping")
        if sessions:
            await self._store.check()
