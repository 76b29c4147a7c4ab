"""What follows from the reports of all workers: one choice of versions for each model. Pure."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from service.repository.choice import Agreed, Choice
from service.repository.policy import HIGHEST, Policy

Policies = dict[str, Policy]  # by model


@dataclass(slots=True, frozen=True)
class Report:
    """What one worker knows of one model."""

    versions: dict[str, str] = field(default_factory=dict)  # "served", "retired", "loading" or "failed"
    policy: dict[str, Any] | None = None  # None: it has read none that is valid, and follows the others


Reports = dict[str, Report]  # by model


@dataclass(slots=True)
class Agreement:
    """What the workers have reported, and what follows from it."""

    workers: dict[str, Reports] = field(default_factory=dict)  # by process id
    models: dict[str, Agreed] = field(default_factory=dict)
    policies: Policies = field(default_factory=dict)  # that the choices follow from

    @classmethod
    def parse(cls, text: bytes) -> "Agreement":
        """Undo `pack`; an empty text is the start."""
        if not text:
            return cls()
        document = json.loads(text)
        return cls(
            {
                pid: {name: Report(**each) for name, each in reports.items()}
                for pid, reports in document["workers"].items()
            },
            {
                name: Agreed(Choice(**current), Choice(**previous), at)
                for name, (current, previous, at) in document["models"].items()
            },
            {name: Policy.model_validate(each) for name, each in document["policies"].items()},
        )

    def pack(self) -> bytes:
        """The bytes of the file."""
        document = {
            "workers": {
                pid: {name: asdict(report) for name, report in reports.items()}
                for pid, reports in self.workers.items()
            },
            "models": {
                name: (asdict(agreed.current), asdict(agreed.previous), agreed.at)
                for name, agreed in self.models.items()
            },
            "policies": {name: policy.model_dump() for name, policy in self.policies.items()},
        }
        return json.dumps(document).encode()

    def decide(self, now: float, delay_s: float) -> None:
        """Choose the versions of each model from the reports; a change takes effect after `delay_s`."""
        names = sorted({name for reports in self.workers.values() for name in reports})
        self.models = {name: each for name, each in self.models.items() if name in names}
        self.policies = {name: each for name, each in self.policies.items() if name in names}
        for name in names:
            reports = [worker.get(name, Report()) for worker in self.workers.values()]
            policy = _common(reports) or self.policies.get(name)
            agreed = self.models.get(name)
            if policy is None and all(report.policy is None for report in reports):
                self.models[name] = Agreed(Choice(is_unknown=True))
                continue
            policy = policy or Policy()
            if agreed is None or agreed.current.is_unknown:
                self.models[name] = Agreed(choose(policy, reports, None))
            elif now < agreed.at:
                continue  # one change after the other
            else:
                choice = choose(policy, reports, agreed.current)
                if choice != agreed.current:
                    at = now + delay_s if len(reports) > 1 else now
                    self.models[name] = Agreed(choice, agreed.current, at)
            self.policies[name] = policy

    def others(self, pid: str) -> frozenset[tuple[str, str]]:
        """The names and versions that other workers serve or load."""
        return frozenset(
            (name, version)
            for worker, reports in self.workers.items()
            for name, report in reports.items()
            for version, status in report.versions.items()
            if worker != pid and status != "failed"
        )


def choose(policy: Policy, reports: Sequence[Report], current: Choice | None) -> Choice:
    """The versions that a policy names, where every worker has dealt with them; else those of `current`."""
    before = current or Choice()
    if policy.unloaded:
        return Choice(is_unloaded=True)

    def usable(name: str | None) -> str | None:
        version = None if name is None else policy.resolve(name)
        return version if version is not None and _is_ready(version, reports, retired=True) else None

    aliases = {alias: usable(alias) or before.aliases.get(alias) for alias in policy.aliases}
    canary = usable(policy.canary.version) if policy.canary else None
    choice = Choice(
        default=_default(policy, reports, current),
        wanted=None if policy.default == HIGHEST else policy.resolve(policy.default),
        aliases={alias: version for alias, version in aliases.items() if version is not None},
        canary=canary,
        weight=policy.canary.weight if policy.canary and canary else 0.0,
        shadow=usable(policy.shadow),
    )
    return before if before.is_unloaded and choice.default is None else choice  # until one is loaded


def _default(policy: Policy, reports: Sequence[Report], current: Choice | None) -> str | None:
    before = None if current is None else current.default
    if policy.default != HIGHEST:
        wanted = policy.resolve(policy.default)
        return wanted if _is_ready(wanted, reports, retired=True) else before
    aside = {
        policy.resolve(name) for name in (policy.shadow, policy.canary and policy.canary.version) if name
    }
    versions = {version for report in reports for version in report.versions}
    ready = [version for version in versions if _is_ready(version, reports)]
    highest = max(ready, key=lambda version: (version not in aside, int(version)), default=None)
    return highest if highest is not None or _are_all_retired(reports) else before


def _common(reports: Sequence[Report]) -> Policy | None:
    """The policy that all workers have read which have read one."""
    found = [report.policy for report in reports if report.policy is not None]
    is_common = bool(found) and all(policy == found[0] for policy in found)
    return Policy.model_validate(found[0]) if is_common else None


def _is_ready(version: str, reports: Sequence[Report], *, retired: bool = False) -> bool:
    """Whether every worker has dealt with a version, and one serves it. `retired`: these count too."""
    statuses = {report.versions.get(version) for report in reports}
    served = {"served", "retired"} if retired else {"served"}
    return bool(statuses & served) and statuses <= {*served, "failed"}


def _are_all_retired(reports: Sequence[Report]) -> bool:
    return all(status in ("retired", "failed") for report in reports for status in report.versions.values())
