"""The draw of a token: proportions, bounds, and the trainer's draw, which is the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from service.predict.sampling import draw
from service.sequence import Array
from tests.training import sampling

LOGITS = arrays.arrays(np.float32, st.integers(1, 12), elements=st.floats(-30, 30, width=32))
TEMPERATURE = st.one_of(st.just(0.0), st.floats(1e-6, 50))
TOP_K = st.one_of(st.none(), st.integers(1, 15))
CHANCE = st.floats(0, 1, exclude_max=True)


@given(LOGITS, TEMPERATURE, TOP_K, CHANCE)
def test_service_and_training_draw_alike_and_among_the_likeliest(
    logits: Array, temperature: float, top_k: int | None, chance: float
) -> None:
    token = draw(logits, temperature=temperature, top_k=top_k, chance=chance)
    assert token == sampling.draw(logits, temperature=temperature, top_k=top_k, chance=chance)
    assert (logits > logits[token]).sum() < (top_k or len(logits))


def test_tokens_come_in_proportion_to_their_odds() -> None:
    log_odds = np.log(np.array([0.2, 0.5, 0.3]))
    chances = (np.arange(1000) + 0.5) / 1000
    for temperature in (1.0, 0.5):
        drawn = [draw(log_odds, temperature=temperature, top_k=None, chance=chance) for chance in chances]
        odds = np.array([0.2, 0.5, 0.3]) ** (1 / temperature)
        assert np.bincount(drawn) / 1000 == pytest.approx(odds / odds.sum(), abs=1e-3)
    two = {draw(log_odds, temperature=1, top_k=2, chance=chance) for chance in chances}
    assert two == {1, 2}


def test_what_cannot_be_is_never_drawn() -> None:
    log_odds = np.array([-np.inf, 0.0, -np.inf])
    assert {draw(log_odds, temperature=1, top_k=None, chance=c) for c in (0.0, 0.5, 1 - 2**-53)} == {1}
    assert draw(log_odds, temperature=0, top_k=None, chance=0.9) == 1
