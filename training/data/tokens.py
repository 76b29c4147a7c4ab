"""Tokenizers learned from a training part, in the form that the manifest stores and the service runs.

Words and sub-words begin at a space, so a text that is cut before a space has the same tokens as the whole
text. Characters may be cut anywhere.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from training.data.dataset import Input, Sequence

UNKNOWN = "<unknown>"


def learn_characters(texts: Iterable[str], *, name: str = "x") -> Input:
    """A token for every character in the texts; any other character is refused."""
    characters = sorted({character for text in texts for character in text})
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(characters)}))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return _input(tokenizer, name, None)


def learn_words(texts: Iterable[str], *, size: int, name: str = "x") -> Input:
    """A token for each of the `size` - 1 most common words and punctuation marks, and one for all others."""
    splitter = pre_tokenizers.Whitespace()
    counts = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    most_common = sorted(counts, key=lambda word: (-counts[word], word))[: size - 1]
    vocabulary = {token: index for index, token in enumerate([UNKNOWN, *most_common])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = splitter
    return _input(tokenizer, name, 0)


def letter_words(known: Iterable[str], *, name: str = "x") -> Input:
    """A token for each of these words, made of the letters a to z, in this order, and one for all others.

    Upper case is read as lower case, and anything but a letter separates words, as in corpora without case,
    digits and punctuation.
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

    `size`: of the vocabulary, 256 bytes included; it is smaller if the texts have fewer pairs.
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


def read(input_: Input, text: str) -> Sequence:
    """A text as a sequence of ids, [time, 1]."""
    [sequence] = read_all(input_, [text])
    return sequence


def read_all(input_: Input, texts: Iterable[str]) -> tuple[Sequence, ...]:
    """Texts as sequences of ids, each [time, 1]."""
    assert input_.tokenizer is not None, f"input {input_.name!r} has no tokenizer"
    tokenizer = Tokenizer.from_str(input_.tokenizer)
    all_ids = (tokenizer.encode(text, add_special_tokens=False).ids for text in texts)
    return tuple(np.array(ids, np.float32)[:, None] for ids in all_ids)


def _input(tokenizer: Tokenizer, name: str, unknown: int | None) -> Input:
    ids = tokenizer.get_vocab()
    return Input(
        name=name,
        kind="token",
        vocabulary=tuple(sorted(ids, key=ids.__getitem__)),
        tokenizer=tokenizer.to_str(),
        unknown=unknown,
    )
