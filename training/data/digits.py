"""Handwritten digits read row by row: an image of 8 × 8 is a sequence of 8 steps.

E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository: the
1797 images of its test part, which scikit-learn ships. They have no official split; ours is a
permutation by RandomState(0), 1347 for training and 450 for the test.
"""

from collections.abc import Mapping

import numpy as np
from sklearn.datasets import load_digits

from training.config import Recipe
from training.data.dataset import DataSet, Input, Split

SIDE, TRAIN = 8, 1347

# Chosen on validation alone, a fifth of the training part held out.
RECIPES: Mapping[str, Recipe] = {
    "regularised": Recipe(
        epochs=60, patience=20, learning_rate=3e-3, noise=0.2, dropout=0.3, weight_decay=0.05, validation=0.2
    ),
    "plain": Recipe(hidden=64, epochs=15, learning_rate=3e-3),
}


def load() -> DataSet:
    """All 1797 images, pixels from 0 to 16."""
    images, targets = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(images))
    rows = images.reshape(-1, SIDE, SIDE).astype(np.float32)  # [images, rows, pixels]
    train, test = (
        Split(tuple(rows[part]), targets[part].astype(np.int64)) for part in (order[:TRAIN], order[TRAIN:])
    )
    return DataSet(
        name="digits",
        title="Handwritten digits by rows",
        citation="E. Alpaydin, C. Kaynak (1998). Optical Recognition of Handwritten Digits. UCI Machine "
        "Learning Repository, https://doi.org/10.24432/C50P49",
        license="CC BY 4.0",
        inputs=(Input(kind="image", features=tuple(f"pixel_{column}" for column in range(SIDE))),),
        labels=tuple("0123456789"),
        train=train,
        test=test,
    )
