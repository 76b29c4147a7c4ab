"""Served as bare ONNX Runtime answers, or refused with the reason; `__main__` holds it for thousands."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.foreign import law
from tests.service.foreign.kind import Kind
from tests.service.foreign.manifests import LIES
from tests.service.foreign.strategy import cases, kinds


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 2**16))
def test_a_graph_is_served_right_or_refused_with_the_reason(case: tuple[Kind, str], seed: int) -> None:
    kind, lie = case
    with tempfile.TemporaryDirectory() as root:
        law.check(kind, Path(root), lie=lie, seed=seed)


@settings(max_examples=30, deadline=None)
@given(kinds())
def test_a_proposed_manifest_is_right_or_says_what_is_open(kind: Kind) -> None:
    with tempfile.TemporaryDirectory() as root:
        law.check_draft(kind, Path(root))


# A kind for which each false claim must be found.
EXPOSED = {
    "swap_states": Kind(cell="lstm"),
    "claim_causal": Kind(ahead="reverse"),
    "swap_axes": Kind(has_states=False),
    "deny_time": Kind(axes="tf", has_states=False),
    "claim_last": Kind(),
    "claim_all": Kind(answer="last"),
    "widen_output": Kind(),
    "widen_state": Kind(),
    "lower_bound": Kind(cell="attention", grows=True),
    "drop_state": Kind(),
    "change_dtype": Kind(),
    "deny_influence": Kind(couples=True),
    "expect_another_answer": Kind(),
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_every_false_claim_is_found(lie: str, tmp_path: Path) -> None:
    verdict = law.check(EXPOSED[lie], tmp_path, lie=lie)
    assert verdict is not None and not verdict.served


@pytest.mark.parametrize("answer", ["head", "last"])
@pytest.mark.parametrize("ahead", ["reverse", "mean"])
def test_graphs_that_look_ahead_are_never_cut(ahead: str, answer: str, tmp_path: Path) -> None:
    """They were served as causal, with sessions that answered something else and "exact" true."""
    kind = Kind(ahead=ahead, answer=answer)  # type: ignore[arg-type]
    verdict = law.check(kind, tmp_path, lie="claim_causal")
    assert verdict is not None and "cut in pieces" in verdict.message


def test_the_plain_kinds_are_exact(tmp_path: Path) -> None:
    for index, kind in enumerate((Kind(), Kind(cell="lstm", lengths="int32"), Kind(axes="bf", time="none"))):
        (tmp_path / str(index)).mkdir()
        assert law.check(kind, tmp_path / str(index)) == law.Verdict(True, exact=True)
