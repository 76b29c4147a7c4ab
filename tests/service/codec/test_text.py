"""Text ↔ token ids by a manifest's tokenizer."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from service.codec import text
from service.errors import InvalidField, StartupError
from service.manifest import InputSpec

WORDS = ("the", "cat", "<other>")


def tokenizer(vocabulary: tuple[str, ...] = WORDS, unknown: str | None = "<other>") -> str:
    words = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=unknown or "")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    written: str = words.to_str()
    return written


def spec(source: str | None, *, unknown: int | None = None) -> InputSpec:
    return InputSpec(
        name="x", kind="token", dtype="int64", vocabulary=WORDS, tokenizer=source, unknown=unknown
    )


def test_text_becomes_ids_and_ids_become_text() -> None:
    words = spec(tokenizer(), unknown=2)
    text.check(words)
    assert text.encode(words, "the cat dog", "/text") == [0, 1, 2]
    assert text.decode(words, [0, 1]) == "the cat"


def test_without_a_tokenizer_there_is_no_text() -> None:
    bare = spec(None)
    text.check(bare)
    assert text.decode(bare, [0]) is None
    with pytest.raises(InvalidField, match="takes no text") as raised:
        text.encode(bare, "the", "/text")
    assert raised.value.pointer == "/text"


def test_a_word_that_is_not_in_the_vocabulary_is_named_if_no_token_stands_for_it() -> None:
    with pytest.raises(InvalidField, match="'dog', in 'dog' at character 4, is not in the vocabulary"):
        text.encode(spec(tokenizer()), "the dog", "/text")


@pytest.mark.parametrize(
    ("source", "message"),
    [("{", "cannot be read"), (tokenizer(("the", "<other>")), "the tokenizer and the vocabulary differ")],
)
def test_a_tokenizer_that_cannot_be_used_ends_the_start(source: str, message: str) -> None:
    with pytest.raises(StartupError, match=message):
        text.check(spec(source))


def with_fields(**fields: object) -> str:
    return json.dumps(json.loads(tokenizer()) | fields)


def precompiled(content: bytes) -> dict[str, str]:
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}


@pytest.mark.parametrize(
    ("normalizer", "message"),
    [(precompiled(b""), "cannot be read"), (precompiled(b"\4\0\0\0abcd"), "the tokenizer fails on a text")],
)
def test_a_panic_of_the_library_is_an_error_of_that_tokenizer(
    normalizer: dict[str, str], message: str
) -> None:
    """A panic is no `Exception`: it ended the process, at its start or at the first text."""
    source = with_fields(normalizer=normalizer)
    with pytest.raises(StartupError, match=message):
        text.check(spec(source))
    if "fails" in message:
        with pytest.raises(InvalidField, match="cannot read the text"):
            text.encode(spec(source, unknown=2), "the", "/text")


def test_padding_and_truncation_of_a_tokenizer_are_ignored() -> None:
    """Truncation dropped words without an error. Padding to a huge length ended the process."""
    padding = {
        "strategy": {"Fixed": 10**12}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "the",
    }  # fmt: skip
    truncation = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    words = spec(with_fields(padding=padding, truncation=truncation), unknown=2)
    text.check(words)
    assert text.encode(words, "cat the cat", "/text") == [1, 0, 1]


def byte_tokenizer() -> InputSpec:
    """One token a byte, so that most characters take several."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    tokens.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens.decoder = decoders.ByteLevel()
    return InputSpec(
        name="x", kind="token", dtype="int64", vocabulary=tuple(alphabet), tokenizer=tokens.to_str()
    )


BYTES = byte_tokenizer()


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), st.integers(0, 3))
def test_pieces_of_a_text_are_whole_characters_and_amount_to_it(written: str, cut: int) -> None:
    """Also of one that ends within a character."""
    ids = text.encode(BYTES, written, "")
    ids = ids[: max(1, len(ids) - cut)]
    pieces = text.TextPieces(BYTES)
    parts = [pieces.add(token) for token in ids]
    assert all("\ufffd" not in part or "\ufffd" in written for part in parts)
    assert "".join(parts) + pieces.rest(ids) == text.decode(BYTES, ids)
