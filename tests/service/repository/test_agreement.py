"""What follows from policies and the versions that workers have."""

from typing import Any

from service.repository.agreement import Agreement, Report, choose
from service.repository.choice import Agreed, Choice
from service.repository.policy import Policy

ALL = {"1": "served", "2": "served", "3": "served", "4": "served"}


def policy(**fields: Any) -> Policy:
    return Policy.model_validate(fields)


def chosen(versions: dict[str, str], current: Choice | None = None, **fields: Any) -> Choice:
    return choose(policy(**fields), [Report(versions), Report(versions)], current)


def test_each_part_of_a_policy_names_a_loaded_version() -> None:
    choice = chosen(
        ALL,
        default="production",
        aliases={"production": "1", "staging": "2"},
        canary={"version": "staging", "weight": 0.5},
        shadow="4",
    )
    aliases = {"production": "1", "staging": "2"}
    assert choice == Choice("1", "1", aliases, canary="2", weight=0.5, shadow="4")
    assert chosen({}, unloaded=True) == Choice(is_unloaded=True)


def test_the_highest_version_is_not_one_on_trial() -> None:
    assert chosen(ALL).default == "4"
    assert chosen(ALL, shadow="4", canary={"version": "3", "weight": 0.1}).default == "2"
    assert chosen({"1": "served"}, shadow="1").default == "1", "unless there is no other"


def test_a_version_that_is_missing_is_waited_for() -> None:
    before = Choice("2", aliases={"production": "2"})
    missing = {"default": "5", "aliases": {"production": "6"}, "canary": {"version": "7", "weight": 1}}
    for versions in (ALL, ALL | {"5": "loading"}, ALL | {"5": "failed"}):
        choice = chosen(versions, before, **missing)
        assert (choice.default, choice.wanted) == ("2", "5")
        assert (dict(choice.aliases), choice.canary, choice.weight) == ({"production": "2"}, None, 0.0)
    assert chosen(ALL | {"5": "served"}, before, **missing).default == "5"
    one_has_it = [Report(ALL | {"5": "served"}), Report(ALL)]
    assert choose(policy(default="5"), one_has_it, before).default == "2"
    assert chosen(ALL, None, default="5").default is None, "at a start no other answers in its place"


def test_a_pinned_version_outlives_its_folder() -> None:
    assert chosen(ALL | {"2": "retired"}, default="2").default == "2"


def test_a_model_is_unloaded_until_a_version_of_it_is_loaded() -> None:
    before = Choice(is_unloaded=True)
    assert chosen({}, before) is before
    assert chosen({"1": "loading"}, before) is before
    assert chosen({"1": "served"}, before) == Choice("1")


def test_a_policy_holds_once_every_worker_has_read_it() -> None:
    old, new = policy(default="1").model_dump(), policy(default="2").model_dump()
    agreement = Agreement({"1": {"m": Report(ALL, old)}, "2": {"m": Report(ALL, old)}})
    agreement.decide(10, 1)
    agreement.workers["1"]["m"] = Report(ALL, new)
    agreement.decide(11, 1)
    assert agreement.models["m"] == Agreed(Choice("1", "1"))
    agreement.workers["2"]["m"] = Report(ALL, None)  # a fault: it follows
    agreement.decide(12, 1)
    assert agreement.models["m"] == Agreed(Choice("2", "2"), Choice("1", "1"), 13)
    assert agreement.policies["m"].default == "2"
    agreement.workers["1"]["m"] = Report(ALL, old)
    agreement.decide(12.5, 1)
    assert agreement.models["m"].current.default == "2", "one change after the other"
    agreement.workers["1"]["m"] = Report(ALL, None)
    agreement.decide(14, 1)
    assert agreement.models["m"].current.default == "2", "no valid policy anywhere changes nothing"
    assert Agreement.parse(agreement.pack()) == agreement
    assert Agreement.parse(b"") == Agreement()


def test_a_model_whose_policy_was_never_readable_has_no_default_until_it_is() -> None:
    """Serving the highest version instead could undo a rollback; not starting took the other models away."""
    agreement = Agreement({"1": {"m": Report(ALL), "n": Report(ALL, Policy().model_dump())}})
    agreement.decide(1.0, 0.5)
    assert agreement.models["m"].current == Choice(is_unknown=True)
    assert agreement.models["n"].current.default == "4"
    agreement.workers["1"]["m"] = Report(ALL, policy(default="2").model_dump())
    agreement.decide(2.0, 0.5)
    assert agreement.models["m"].current.default == "2"
    agreement.workers["2"] = {"m": Report(ALL)}
    agreement.decide(3.0, 0.5)
    assert agreement.models["m"].current.default == "2", "a new worker follows the others"
