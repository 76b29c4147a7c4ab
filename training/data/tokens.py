"""Text as an input: tokenizers learnt from a training part, as the manifest keeps and the service runs them.

Words and sub-words begin at a space, so a text cut before a space gives in pieces what it gives whole;
characters may be cut anywhere.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from training.data.dataset import Input, Sequence

UNKNOWN = "<unknown>"


def learn_characters(texts: Iterable[str], *, name: str = "x") -> Input:
    """Every character that occurs; one that does not is refused."""
    found = sorted({character for text in texts for character in text})
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(found)}))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return _input(tokenizer, name, None)


def learn_words(texts: Iterable[str], *, size: int, name: str = "x") -> Input:
    """The `size` - 1 commonest words and punctuation marks; every other one is one and the same token."""
    splitter = pre_tokenizers.Whitespace()
    counts = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    commonest = sorted(counts, key=lambda word: (-counts[word], word))[: size - 1]
    vocabulary = {token: index for index, token in enumerate([UNKNOWN, *commonest])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = splitter
    return _input(tokenizer, name, 0)


def letter_words(known: Iterable[str], *, name: str = "x") -> Input:
    """These words, made of the letters a to z, in this order; every other one is one and the same token.

    Upper case is read as lower case, and anything but a letter parts words: what corpora of words without
    case, digits and punctuation were made by.
    """
    vocabulary = {token: index for index, token in enumerate([UNKNOWN, *known])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex("[^a-z]+"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _input(tokenizer, name, 0)


def learn_bpe(texts: Iterable[str], *, size: int, name: str = "x") -> Input:
    """Sub-words by byte-pair encoding (Sennrich, Haddow, Birch 2016, ACL) over bytes: no text is refused.

    `size` is that of the vocabulary, 256 bytes included; it stays smaller where the texts have no more pairs.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _input(tokenizer, name, None)


def read(given: Input, text: str) -> Sequence:
    """A text as a sequence of ids, [time, 1]."""
    [sequence] = read_all(given, [text])
    return sequence


def read_all(given: Input, texts: Iterable[str]) -> tuple[Sequence, ...]:
    """Texts as sequences of ids, each [time, 1]."""
    assert given.tokenizer is not None, f"input {given.name!r} has no tokenizer"
    tokenizer = Tokenizer.from_str(given.tokenizer)
    found = (tokenizer.encode(text, add_special_tokens=False).ids for text in texts)
    return tuple(np.array(ids, np.float32)[:, None] for ids in found)


def _input(tokenizer: Tokenizer, name: str, unknown: int | None) -> Input:
    ids = tokenizer.get_vocab()
    return Input(
        name=name,
        kind="token",
        vocabulary=tuple(sorted(ids, key=ids.__getitem__)),
        tokenizer=tokenizer.to_str(),
        unknown=unknown,
    )
