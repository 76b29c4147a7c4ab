"""The learning rate: linear warm-up batch by batch, times a schedule that never sees it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from training import schedule
from training.config import PLATEAU_EPOCHS, Recipe


def optimiser_of(learning_rate: float = 0.5) -> torch.optim.Optimizer:
    return torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=learning_rate)


@given(warm_up=st.integers(1, 9), batches=st.integers(1, 50))
def test_the_warm_up_grows_by_equal_steps_to_its_last_batch(warm_up: int, batches: int) -> None:
    shares = [
        schedule.warm_up_share(warm_up, epoch=epoch, batch=batch, batches=batches)
        for epoch in range(warm_up + 1)
        for batch in range(batches)
    ]
    within = warm_up * batches
    assert shares[:within] == pytest.approx([step / within for step in range(1, within + 1)])
    assert set(shares[within - 1 :]) == {1.0}


def test_without_warm_up_the_share_is_one() -> None:
    assert schedule.warm_up_share(0, epoch=0, batch=0, batches=7) == 1.0


def test_a_scaled_learning_rate_is_restored_also_after_an_error() -> None:
    optimiser = optimiser_of()
    with schedule.scaled(optimiser, 0.25) as learning_rate:
        assert optimiser.param_groups[0]["lr"] == learning_rate == 0.125
    with pytest.raises(KeyboardInterrupt), schedule.scaled(optimiser, 0.25):
        raise KeyboardInterrupt
    assert optimiser.param_groups[0]["lr"] == 0.5


def test_a_schedule_is_the_one_of_the_recipe() -> None:
    assert schedule.create(Recipe(), optimiser_of()) is None
    cosine = schedule.create(Recipe(schedule="cosine", epochs=7), optimiser_of())
    assert isinstance(cosine, CosineAnnealingLR)
    assert (cosine.T_max, cosine.eta_min) == (7, 0)


def test_a_plateau_halves_the_learning_rate_after_its_epochs() -> None:
    optimiser = optimiser_of()
    plateau = schedule.create(Recipe(schedule="plateau"), optimiser)
    assert isinstance(plateau, ReduceLROnPlateau)
    rates = []
    for loss in [3.0, 2.0, *[2.0] * PLATEAU_EPOCHS, 1.9, *[5.0] * (PLATEAU_EPOCHS - 1)]:
        plateau.step(loss)
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates == [0.5] * (1 + PLATEAU_EPOCHS) + [0.25] * (1 + PLATEAU_EPOCHS)
