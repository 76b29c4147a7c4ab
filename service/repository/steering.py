"""Changes a model's policy, and waits until all workers of the server follow it.

Every change is one replacement of the policy's file, so that it survives restarts.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from service.errors import InvalidField, ModelLoading, UnknownModel
from service.names import MODEL_NAME
from service.repository.choice import Choice
from service.repository.policy import HIGHEST, Policies, Policy, change_policy
from service.repository.repository import Repository
from service.repository.rollout import Rollout

WAIT_EVERY_S = 0.05


class Steering:
    """All changes of policies."""

    def __init__(
        self,
        root: Path,
        repository: Repository,
        policies: Policies,
        rollout: Rollout,
        *,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`root`: the models directory; `timeout_s`: the longest time that a change waits for all workers."""
        self._root = root
        self._repository = repository
        self._policies = policies
        self._rollout = rollout
        self._timeout_s = timeout_s
        self._clock = clock

    def policy(self, name: str) -> Policy:
        """The policy in force. Raises UnknownModel."""
        self._check(name)
        return self._rollout.policy(name) or self._policies.get(name) or Policy()

    def choice(self, name: str) -> Choice:
        """Which versions answer now."""
        return self._repository.choice(name)

    def fault(self, name: str) -> str | None:
        """What is wrong with the policy's file as it is now."""
        return self._policies.fault(name)

    @property
    def num_faults(self) -> int:
        """The models whose policy's file is faulty now."""
        return len(self._policies.faults)

    def waiting(self, name: str) -> list[str]:
        """The parts of the policy that are not in force, because a version is not loaded."""
        policy, choice = self.policy(name), self.choice(name)
        parts = [("default", None if policy.default == HIGHEST else policy.default, choice.default)]
        parts += [(f"aliases.{alias}", alias, choice.aliases.get(alias)) for alias in policy.aliases]
        parts.append(("canary", policy.canary.version if policy.canary else None, choice.canary))
        parts.append(("shadow", policy.shadow, choice.shadow))
        return [
            f"{part}: version {policy.resolve(wanted)} is not loaded"
            for part, wanted, used in parts
            if wanted is not None and used != policy.resolve(wanted) and not policy.unloaded
        ]

    async def replace(self, name: str, policy: Policy) -> bool:
        """Set a policy; whether all workers follow it. Raises UnknownModel or ReadOnlyModels."""
        self._check(name)
        return await self._change(name, lambda _: policy, lambda _: True)

    async def promote(self, name: str, version: str) -> tuple[str, bool]:
        """Make a version the default: its number, and whether all workers follow.

        Raises UnknownModel, UnknownVersion, ModelLoading, InvalidField or ReadOnlyModels.
        """
        model = self._repository.get(name, version)
        current = self._current(name)
        follow = await self._change(
            name,
            lambda policy: promoted(policy, model.version, current),
            lambda choice: choice.default == model.version,
        )
        return model.version, follow

    async def roll_back(self, name: str) -> tuple[str, bool]:
        """Make the previous default the default again, as `promote` does. Raises also InvalidField."""
        self._check(name)
        previous = self._policies_now(name).previous
        if previous is None:
            raise InvalidField(f"{name} has no previous default: nothing was promoted", pointer="/previous")
        return await self.promote(name, previous)

    async def load(self, name: str) -> None:
        """Load the versions of a model; returns when all workers answer.

        Raises UnknownModel, ModelLoading or ReadOnlyModels.
        """
        self._check(name)
        is_done = await self._change(
            name,
            lambda policy: policy.model_copy(update={"unloaded": False}),
            lambda choice: choice.default is not None,
            gives_up=lambda: self._has_failed(name),
        )
        if not is_done and self._has_failed(name):
            raise UnknownModel(f"no version of model {name!r} can be served; the log has the reason")
        if not is_done:
            raise ModelLoading(f"model {name!r} is being loaded")

    async def unload(self, name: str) -> bool:
        """Unload every version of a model; whether no worker answers for it. Raises as `load` does."""
        self._check(name)
        return await self._change(
            name,
            lambda policy: policy.model_copy(update={"unloaded": True}),
            lambda choice: choice.is_unloaded,
        )

    def unloaded(self) -> Iterator[tuple[str, str]]:
        """The name and version folders of models that are unloaded."""
        for name in sorted(self._policies.unloaded()):
            for folder in sorted((self._root / name).glob("[1-9]*")):
                yield name, folder.name

    async def _change(
        self,
        name: str,
        change: Callable[[Policy], Policy],
        is_done: Callable[[Choice], bool],
        *,
        gives_up: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Write the changed policy; whether all workers follow it within the time."""
        deadline = self._clock() + self._timeout_s
        policy = await asyncio.to_thread(change_policy, self._root / name, change)
        await asyncio.to_thread(self._policies.read)
        while self._policies.get(name) == policy:  # else another one has been set meanwhile
            await self._rollout.follow()
            is_agreed = self._rollout.policy(name) == policy and self._rollout.is_in_effect(name)
            if is_agreed and is_done(self._repository.choice(name)):
                return True
            if self._clock() > deadline or gives_up():
                return False
            await asyncio.sleep(WAIT_EVERY_S)
        return False

    def _policies_now(self, name: str) -> Policy:
        self._policies.read()
        policy = self._policies.get(name)
        if policy is None or self._policies.fault(name):
            raise InvalidField(f"the policy is faulty: {self._policies.fault(name)}")
        return policy

    def _current(self, name: str) -> str | None:
        """The number of the version that is the default now."""
        choice = self._repository.choice(name)
        if choice.default is not None or choice.wanted is not None:
            return choice.default
        return self._repository.get(name).version

    def _has_failed(self, name: str) -> bool:
        statuses = self._repository.statuses().get(name, {})
        return bool(statuses) and set(statuses.values()) == {"failed"}

    def _check(self, name: str) -> None:
        """Raises UnknownModel for a name that has neither a folder nor a loaded version."""
        is_folder = MODEL_NAME.fullmatch(name) is not None and (self._root / name).is_dir()
        if not is_folder and not any(model.name == name for model in self._repository):
            raise UnknownModel(f"no model {name!r}")


def promoted(policy: Policy, version: str, current: str | None) -> Policy:
    """The policy in which a version is the default, and what was on trial as that version is no longer.

    If the default is an alias, the alias comes to name the version, so that both stay the same.
    """
    changes: dict[str, object] = {}
    if policy.default in policy.aliases:
        changes["aliases"] = policy.aliases | {policy.default: version}
    else:
        changes["default"] = version
    if current is not None and current != version:
        changes["previous"] = current
    if policy.canary is not None and policy.resolve(policy.canary.version) == version:
        changes["canary"] = None
    if policy.shadow is not None and policy.resolve(policy.shadow) == version:
        changes["shadow"] = None
    return policy.model_copy(update=changes)
