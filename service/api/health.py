"""`/health`: the checks of a load balancer. It knows nothing of models: readiness is an argument."""

from typing import Annotated, Protocol

from fastapi import APIRouter, Query

from service.api.errors import errors
from service.api.schemas import HealthReply
from service.errors import Draining, InvalidField, StoreUnavailable

CheckSessions = Annotated[bool, Query(description="false: do not check the session store")]

BAD_SESSIONS = InvalidField(
    "query parameter sessions: Input should be a valid boolean, unable to interpret input"
)


class Readiness(Protocol):
    """Whether a prediction would be answered now."""

    async def check(self, *, sessions: bool) -> None:
        """Raises Draining or, where `sessions` count, StoreUnavailable."""


def build(readiness: Readiness) -> APIRouter:
    """The routes below /health."""
    router = APIRouter(tags=["health"])

    @router.get("/health/live")
    async def live() -> HealthReply:
        """200 as long as the process answers at all."""
        return HealthReply(status="ok")

    @router.get("/health/ready", responses=errors(BAD_SESSIONS, Draining, StoreUnavailable, is_health=True))
    async def ready(sessions: CheckSessions = True) -> HealthReply:
        """200 only when `/predict` would answer."""
        await readiness.check(sessions=sessions)
        return HealthReply(status="ok")

    return router
