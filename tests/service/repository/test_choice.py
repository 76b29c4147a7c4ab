"""Which new sessions start on a canary."""

from hypothesis import given
from hypothesis import strategies as st

from service.repository.choice import Choice, is_in_canary


@given(st.text(), st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_session_that_is_in_stays_in_at_every_greater_weight(
    tenant: str, session: str, one: float, other: float
) -> None:
    less, more = sorted((one, other))
    assert is_in_canary(less, "m", tenant, session) <= is_in_canary(more, "m", tenant, session)
    assert is_in_canary(1.0, "m", tenant, session) and not is_in_canary(0.0, "m", tenant, session)


def test_the_weight_is_the_share_of_sessions() -> None:
    """Over fixed names, so that the numbers never change: the hash is part of what replicas agree on."""
    names = [f"call-{number}" for number in range(10_000)]
    assert sum(is_in_canary(0.05, "m", "acme", name) for name in names) == 486
    first = [name for name in names if is_in_canary(0.5, "m", "acme", name)]
    other = [name for name in names if is_in_canary(0.5, "m", "globex", name)]
    assert first != other, "a session's name says nothing of another tenant's"


def test_the_versions_in_use() -> None:
    choice = Choice(default="2", aliases={"staging": "3"}, canary="4", shadow="5")
    assert choice.named == {"2", "3", "4", "5"}
