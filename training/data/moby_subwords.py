"""Moby Dick, sub-word after sub-word: the next one is to be told.

The text and the parts of `moby`; the tokens are learnt from the training part by byte-pair encoding
(Sennrich, Haddow, Birch 2016, ACL), 512 of them, 256 bytes included, so that no text is refused. The
bits are told a character, so that they can be held against those of `moby`.

The recipe is half of that of `moby`: windows of half the steps, half the epochs, three quarters of the width;
nothing else was tried.
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
    """A text as a data set of sub-words, of which there are at most `size`."""
    given = tokens.learn_bpe([moby.parts(whole)[0]], size=size)
    found = moby.spelt(whole, given, name="moby_subwords", title="Moby Dick by sub-words", steps=64)
    return replace(found, beside="moby")
