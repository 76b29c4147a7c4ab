"""`/models/{name}/policy`, `promote` and `rollback`: which version answers. For administrators only."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Request, Response
from pydantic import BaseModel, Field

from service.api.bodies import BoundedRoute
from service.api.errors import MODEL, VALUES, errors
from service.api.schemas import Schema
from service.errors import (
    Forbidden,
    ModelLoading,
    ReadOnlyModels,
    StoreUnavailable,
    UnknownModel,
)
from service.repository import Policy, Steering
from service.sessions import Resources, migrate_all

IsAdmin = Callable[[str], bool]  # by tenant


class PromoteBody(Schema):
    """The version that becomes the default."""

    version: str = Field(description="a version, or an alias")
    migrate: bool = Field(
        False,
        description="true: move live sessions of other versions to it, where the states have one layout",
    )


class RollbackBody(Schema):
    """All fields are optional."""

    migrate: bool = Field(False, description="true: move live sessions to the version, as a promotion can")


class PolicyReply(BaseModel):
    """A policy, and what follows from it now."""

    policy: Policy
    default: str | None = Field(description="the version of requests that name none; null if none answers")
    aliases: dict[str, str] = Field(description="the version of each alias")
    in_effect: bool = Field(description="whether all workers follow the policy; false with status 202")
    waiting: list[str] = Field(description="the parts that wait for a version")
    fault: str | None = Field(
        None, description="what is wrong with the file, if it is not the policy in force"
    )


class MigrationReply(BaseModel):
    """How many sessions were moved."""

    moved: int
    kept: int = Field(description="on their version: the layouts of the states differ, or it is not loaded")


class PromotionReply(BaseModel):
    """The default after a promotion or a rollback."""

    model: str
    default: str
    previous: str | None = Field(description="the version that a rollback makes the default")
    in_effect: bool = Field(description="whether all workers follow; false with status 202")
    sessions: MigrationReply | None = Field(None, description="with `migrate`")


def admin_only(is_admin: IsAdmin) -> Callable[[Request], None]:
    """A dependency that refuses tenants which are not administrators."""

    def check(request: Request) -> None:
        if not is_admin(getattr(request.state, "tenant", "")):
            raise Forbidden(
                "an API key with `admin = true` is needed; a server without keys needs admin_access = open"
            )

    return check


def build(steering: Steering, resources: Resources, is_admin: IsAdmin) -> APIRouter:
    """The routes that steer a model."""
    router = APIRouter(
        prefix="/models/{name}",
        tags=["models"],
        route_class=BoundedRoute,
        dependencies=[Depends(admin_only(is_admin))],
    )
    _add_policy(router, steering)
    _add_promotion(router, steering, resources)
    return router


def _add_policy(router: APIRouter, steering: Steering) -> None:
    @router.get("/policy", responses=errors(Forbidden, UnknownModel))
    async def show_policy(name: str) -> PolicyReply:
        """The policy in force."""
        return _describe(steering, name, in_effect=True)

    @router.put("/policy", responses=errors(*VALUES, Forbidden, UnknownModel, ReadOnlyModels, has_body=True))
    async def replace_policy(name: str, body: Policy, response: Response) -> PolicyReply:
        """Replace the policy. The reply leaves once all workers follow it; 202: they do not yet."""
        follow = await steering.replace(name, body)
        response.status_code = 200 if follow else 202
        return _describe(steering, name, in_effect=follow, policy=body)


def _add_promotion(router: APIRouter, steering: Steering, resources: Resources) -> None:
    responses = errors(
        *VALUES, *MODEL, Forbidden, ModelLoading, ReadOnlyModels, StoreUnavailable, has_body=True
    )

    async def finish(
        name: str, version: str, follow: bool, migrate: bool, response: Response
    ) -> PromotionReply:
        response.status_code = 200 if follow else 202
        reply = PromotionReply(
            model=name, default=version, previous=steering.policy(name).previous, in_effect=follow
        )
        if migrate and follow:
            moved, kept = await migrate_all(resources, name, version)
            reply.sessions = MigrationReply(moved=moved, kept=kept)
        return reply

    @router.post("/promote", responses=responses)
    async def promote(name: str, body: PromoteBody, response: Response) -> PromotionReply:
        """Make a version the default of all workers at one moment. An alias that is the default moves.

        Sessions stay on their versions unless `migrate` is true. If the connection breaks, send it again.
        """
        version, follow = await steering.promote(name, body.version)
        return await finish(name, version, follow, body.migrate, response)

    @router.post("/rollback", responses=responses)
    async def roll_back(
        name: str, response: Response, body: Annotated[RollbackBody, Body(default_factory=RollbackBody)]
    ) -> PromotionReply:
        """Make the previous default the default again."""
        version, follow = await steering.roll_back(name)
        return await finish(name, version, follow, body.migrate, response)


def _describe(steering: Steering, name: str, *, in_effect: bool, policy: Policy | None = None) -> PolicyReply:
    choice = steering.choice(name)
    return PolicyReply(
        policy=policy or steering.policy(name),
        default=choice.default,
        aliases=dict(choice.aliases),
        in_effect=in_effect,
        waiting=steering.waiting(name),
        fault=steering.fault(name),
    )
