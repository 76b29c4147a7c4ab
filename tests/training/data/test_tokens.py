"""Tokenizers: what they learn, that texts and ids agree, and that a cut before a space changes nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from training.data import tokens
from training.data.dataset import Input

BOOK = ["the cat sat on the mat, the end.", "a cat, a mat and a hat"]
LETTERS = tokens.learn_characters(BOOK)
WORDS = tokens.learn_words(BOOK, size=6)
PIECES = tokens.learn_bpe(BOOK, size=280)
NEWS = tokens.letter_words(["cat", "mat", "the"])


def ids_of(input_: Input, text: str) -> list[int]:
    return [int(number) for number in tokens.read(input_, text)[:, 0]]


def tokens_of(input_: Input, text: str) -> list[str]:
    return [input_.vocabulary[number] for number in ids_of(input_, text)]


@pytest.mark.parametrize(
    "input_", [LETTERS, WORDS, PIECES, NEWS], ids=["characters", "words", "bpe", "letters"]
)
def test_the_vocabulary_is_that_of_the_stored_tokenizer_in_order(input_: Input) -> None:
    assert input_.kind == "token"
    assert input_.tokenizer is not None
    ids = Tokenizer.from_str(input_.tokenizer).get_vocab()
    assert [ids[token] for token in input_.vocabulary] == list(range(len(ids)))
    json.loads(input_.tokenizer)


def test_characters_are_those_of_the_texts_in_order() -> None:
    assert LETTERS.vocabulary == tuple(sorted(set("".join(BOOK))))
    assert LETTERS.unknown is None
    assert tokens_of(LETTERS, "a hat") == list("a hat")


@given(st.text(st.sampled_from(LETTERS.vocabulary), min_size=1, max_size=20))
def test_characters_may_be_cut_anywhere(text: str) -> None:
    assert ids_of(LETTERS, text) == [ids_of(LETTERS, one)[0] for one in text]


def test_the_most_common_words_have_a_token_and_ties_are_alphabetical() -> None:
    assert WORDS.vocabulary == ("<unknown>", "a", "the", ",", "cat", "mat")
    assert WORDS.unknown == 0
    assert tokens_of(WORDS, "the hat, a cat") == ["the", "<unknown>", ",", "a", "cat"]


def test_letter_words_ignore_case_digits_and_punctuation() -> None:
    assert NEWS.vocabulary == ("<unknown>", "cat", "mat", "the")
    assert tokens_of(NEWS, "THE 3rd cat's\nMat!") == ["the", "<unknown>", "cat", "<unknown>", "mat"]


@given(st.text(max_size=30))
def test_subwords_refuse_no_text_and_decode_to_it(text: str) -> None:
    decoder = Tokenizer.from_str(PIECES.tokenizer or "")
    assert decoder.decode(ids_of(PIECES, text) if text else []) == text


def test_subwords_learn_pairs_beyond_the_bytes() -> None:
    assert 256 < len(PIECES.vocabulary) <= 280
    assert len(ids_of(PIECES, "the cat")) < len("the cat")
    assert len(tokens.learn_bpe(["ab"], size=512).vocabulary) < 260, "there are no more pairs"


@pytest.mark.parametrize("input_", [WORDS, PIECES, NEWS], ids=["words", "bpe", "letters"])
@given(st.lists(st.sampled_from(["the", "cat", "hat", "mat,", "a"]), min_size=2, max_size=8), st.data())
def test_a_cut_before_a_space_changes_nothing(input_: Input, words: list[str], data: st.DataObject) -> None:
    text = " ".join(words)
    cut = len(" ".join(words[: data.draw(st.integers(1, len(words) - 1))]))
    assert ids_of(input_, text[:cut]) + ids_of(input_, text[cut:]) == ids_of(input_, text)


def test_several_texts_are_read_at_once() -> None:
    first, second = tokens.read_all(LETTERS, ["cat", "at"])
    assert first.shape == (3, 1)
    assert second.shape == (2, 1)
    assert first[1:].tolist() == second.tolist()


def test_an_input_without_tokenizer_reads_no_text() -> None:
    with pytest.raises(AssertionError, match="input 'sky' has no tokenizer"):
        tokens.read(Input("sky", kind="token", vocabulary=("a",)), "a")
