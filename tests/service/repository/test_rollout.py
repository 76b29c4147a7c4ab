"""Workers agree on default versions: a client sees each change once."""

import asyncio
import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ModelLoading, UnknownModel, UnknownVersion
from service.repository.policy import Policies, Policy, write_policy
from service.repository.repository import Repository
from service.repository.rollout import Rollout
from tests.service.repository.test_repository import model, repository


class Cluster:
    """Workers of one server, each with its own repository."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.now = 1000.0
        self.dead: set[int] = set()
        self.models = folder / "models"
        self.policies: dict[int, Policies] = {}
        self.pids = itertools.count(size + 1)
        self.workers = {pid: self.start(pid, "1") for pid in range(1, size + 1)}
        self.follow()

    def start(self, pid: int, *versions: str) -> tuple[Repository, Rollout]:
        loaded = repository(*(("m", version) for version in versions))
        self.policies[pid] = Policies(self.models)
        self.policies[pid].read()
        rollout = Rollout(
            loaded,
            self.policies[pid],
            self.folder,
            pid=pid,
            clock=lambda: self.now,
            is_alive=lambda each: each not in self.dead,
        )
        asyncio.run(rollout.follow())
        return loaded, rollout

    def follow(self) -> None:
        for _, rollout in self.workers.values():
            asyncio.run(rollout.follow())

    def defaults(self) -> list[str]:
        """The default of each worker, as a request would find it now."""
        chosen = []
        for loaded, rollout in self.workers.values():
            agreed = rollout.agreed("m")
            if agreed is not None and agreed.at > self.now:  # the repository has the machine's own clock
                agreed = agreed._replace(current=agreed.previous, at=0.0)
            loaded.agree({} if agreed is None else {"m": agreed._replace(at=0.0)})
            chosen.append(loaded.get("m").version)
        return chosen


def test_a_new_version_is_the_default_once_every_worker_has_it(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 2)
    (one, _), (two, _) = cluster.workers.values()
    one.add(model("m", "2"))
    cluster.follow()
    cluster.now += 60
    cluster.follow()
    assert cluster.defaults() == ["1", "1"]
    two.mark("m", "2", "loading")
    cluster.follow()
    assert cluster.defaults() == ["1", "1"]
    two.add(model("m", "2"))
    cluster.follow()
    cluster.follow()
    assert cluster.defaults() == ["1", "1"], "all workers have to learn of it first"
    cluster.now += 1.0
    assert cluster.defaults() == ["2", "2"]


def test_a_deleted_default_is_replaced_in_all_workers_at_once(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 2)
    (one, _), (two, _) = cluster.workers.values()
    for loaded in (one, two):
        loaded.add(model("m", "2"))
    cluster.follow()
    cluster.now += 1
    one.retire("m", "2", cluster.now)
    cluster.follow()
    assert cluster.defaults() == ["2", "2"]
    cluster.follow()
    cluster.now += 1
    assert cluster.defaults() == ["1", "1"]
    two.retire("m", "2", cluster.now)
    two.retire("m", "1", cluster.now)
    one.retire("m", "1", cluster.now)
    cluster.follow()
    cluster.follow()
    cluster.now += 1
    for loaded, rollout in cluster.workers.values():
        agreed = rollout.agreed("m")
        assert agreed is not None and agreed.current.default is None
        try:
            loaded.agree({"m": agreed._replace(at=0.0)})
            loaded.get("m")
        except UnknownModel as error:
            assert "every version" in error.detail
        else:
            raise AssertionError("a retired version answered")


def test_a_worker_that_failed_or_died_does_not_hold_up_the_others(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 3)
    (one, _), (two, _), (_, _) = cluster.workers.values()
    one.add(model("m", "2"))
    two.mark("m", "2", "failed")
    cluster.follow()
    cluster.dead.add(3)
    del cluster.workers[3]
    cluster.follow()
    cluster.follow()
    cluster.now += 1
    assert cluster.defaults() == ["2", "1"], "one serves what it has"


def test_a_worker_expects_what_another_one_serves(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 2)
    (one, _), (two, _) = cluster.workers.values()
    one.mark("m", "2", "loading")
    cluster.follow()
    cluster.follow()
    assert two.is_expected("m", "2") and not two.is_expected("m", "3")
    one.mark("m", "2", None)
    cluster.follow()
    cluster.follow()
    try:
        two.get("m", "2")
    except UnknownVersion:
        return
    raise AssertionError("nobody has it")


def test_a_report_of_another_worker_counts_before_the_next_turn_to_follow(tmp_path: Path) -> None:
    """A session on a new version got 404 from a worker that had not yet read what the other one reported."""
    cluster = Cluster(tmp_path, 2)
    (one, rollout), (two, _) = cluster.workers.values()
    one.mark("m", "2", "loading")
    asyncio.run(rollout.follow())
    with pytest.raises(ModelLoading):
        two.get("m", "2")
    with pytest.raises(UnknownVersion):
        two.get("m", "3")


def test_one_worker_alone_waits_for_nobody(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 1)
    ((one, _),) = cluster.workers.values()
    one.add(model("m", "2"))
    cluster.follow()
    assert cluster.defaults() == ["2"]


@given(st.data())
def test_a_client_sees_each_change_once(data: st.DataObject) -> None:
    """Versions are added in order; workers notice at any time, die and are replaced at any time."""
    with TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder), 3)
        newest = 1
        last = 1
        for _ in range(data.draw(st.integers(1, 40))):
            action = data.draw(
                st.sampled_from(["release", "load", "load", "follow", "follow", "wait", "die"])
            )
            pid = data.draw(st.sampled_from(sorted(cluster.workers)))
            loaded, rollout = cluster.workers[pid]
            if action == "release":
                newest += 1
            elif action == "load":
                missing = [v for v in range(1, newest + 1) if ("m", str(v)) not in loaded]
                if missing:
                    loaded.add(model("m", str(missing[0])))
            elif action == "follow":
                asyncio.run(rollout.follow())
            elif action == "wait":
                cluster.follow()  # as all do, several times within the delay
                cluster.follow()
                cluster.now += data.draw(st.floats(0.1, 2))
            else:
                cluster.dead.add(pid)
                del cluster.workers[pid]
                new = next(cluster.pids)
                cluster.workers[new] = cluster.start(new, *(str(v) for v in range(1, newest + 1)))
            for version in map(int, cluster.defaults()):
                assert version >= last
                last = version


def test_a_policy_takes_effect_in_all_workers_at_once(tmp_path: Path) -> None:
    """The first worker reads the file; the others see its report, and read it themselves."""
    cluster = Cluster(tmp_path, 3)
    for loaded, _ in cluster.workers.values():
        loaded.add(model("m", "2"))
    (cluster.models / "m").mkdir(parents=True)
    write_policy(cluster.models / "m", Policy(default="1"))
    cluster.policies[1].read()
    cluster.follow()
    cluster.now += 60
    seen = [cluster.defaults()]
    for _ in range(3):
        cluster.follow()
        cluster.now += 0.6
        seen.append(cluster.defaults())
    assert all(len(set(defaults)) == 1 for defaults in seen) and seen[-1] == ["1"] * 3
    for pid, (_, rollout) in cluster.workers.items():
        assert rollout.policy("m") == cluster.policies[pid].get("m") == Policy(default="1")
        assert rollout.is_in_effect("m")


def test_a_worker_that_starts_follows_the_policy_in_force(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 2)
    for loaded, _ in cluster.workers.values():
        loaded.add(model("m", "2"))
    (cluster.models / "m").mkdir(parents=True)
    write_policy(cluster.models / "m", Policy(default="1"))
    cluster.policies[1].read()
    for _ in range(4):
        cluster.follow()
        cluster.now += 2
    (cluster.models / "m" / "policy.json").write_text("{")
    cluster.workers[9] = cluster.start(9, "1", "2")
    cluster.follow()
    assert cluster.defaults() == ["1", "1", "1"]


def test_a_version_that_arrives_during_a_change_is_not_forgotten(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 2)
    for version in ("2", "3"):
        for loaded, _ in cluster.workers.values():
            loaded.add(model("m", version))
        cluster.follow()
        cluster.follow()
    cluster.now += 1.5
    cluster.follow()
    cluster.now += 1.5
    cluster.follow()
    assert cluster.defaults() == ["3", "3"]
