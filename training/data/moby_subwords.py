"""Moby Dick by sub-words: predict the next one.

The text and the parts of `moby`; the tokens are learned from the training part by byte-pair encoding
(Sennrich, Haddow, Birch 2016, ACL): 512 of them, 256 bytes included, so that no text is refused. The
bits are per character, so that they can be compared with those of `moby`.

The recipe is derived from that of `moby`: windows of half the steps, half the epochs, three quarters of the
width. No other was tried.
"""

from collections.abc import Mapping
from dataclasses import replace

from training.config import Recipe
from training.data import moby, tokens
from training.data.dataset import DataSet

SIZE = 512

RECIPES: Mapping[str, Recipe] = {
    "default": moby.RECIPES["default"].model_copy(update={"hidden": 192, "epochs": 4}),
}


def load() -> DataSet:
    """One input of tokens, a sub-word each, with their tokenizer. Raises FetchError."""
    return data_of(moby.text())


def data_of(whole: str, *, size: int = SIZE) -> DataSet:
    """A text as a data set of at most `size` different sub-words."""
    input_ = tokens.learn_bpe([moby.parts(whole)[0]], size=size)
    data = moby.tokenised(whole, input_, name="moby_subwords", title="Moby Dick by sub-words", steps=64)
    return replace(data, beside="moby")
