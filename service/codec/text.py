"""Text ↔ token ids, by the tokenizer of a manifest. Knows the `tokenizers` library, which is an extra.

No mark of beginning or end is added to a text: so its pieces, cut between tokens, give the same ids as the
whole.
"""

import functools
from typing import Any

from service.errors import InvalidField, StartupError
from service.manifest import InputSpec


def check(spec: InputSpec) -> None:
    """Check that the tokenizer can be used and has the vocabulary of the input. Raises StartupError."""
    if spec.tokenizer is None:
        return
    try:
        vocabulary = _load(spec.tokenizer).get_vocab()
    except ImportError as error:
        raise StartupError(
            f"input {spec.name!r} takes text: pip install cellgate[text] (the tokenizers library)"
        ) from error
    except Exception as error:  # the library raises nothing narrower
        raise StartupError(f"input {spec.name!r}: the tokenizer cannot be read: {error}") from error
    if vocabulary != spec.ids:
        raise StartupError(f"input {spec.name!r}: the tokenizer and the vocabulary differ")


def encode(spec: InputSpec, text: str, pointer: str) -> list[int]:
    """The token ids of a text. Raises InvalidField if the input takes no text, or not this one."""
    if spec.tokenizer is None:
        raise InvalidField(f"input {spec.name!r} takes no text: it has no tokenizer", pointer=pointer)
    tokenizer = _load(spec.tokenizer)
    if spec.unknown is None and (fault := _find_unknown(tokenizer, text)):
        raise InvalidField(fault, pointer=pointer)
    try:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    except Exception as error:  # the library raises nothing narrower
        raise InvalidField(f"the tokenizer cannot read the text: {error}", pointer=pointer) from error
    return ids


def decode(spec: InputSpec, ids: list[int]) -> str | None:
    """The text of token ids; None if the input has no tokenizer."""
    if spec.tokenizer is None:
        return None
    text: str = _load(spec.tokenizer).decode(ids, skip_special_tokens=False)
    return text


@functools.lru_cache(maxsize=32)
def _load(tokenizer: str) -> Any:
    from tokenizers import Tokenizer  # an optional dependency

    return Tokenizer.from_str(tokenizer)


def _find_unknown(tokenizer: Any, text: str) -> str | None:
    """The error about the first part of a text that no token represents; None if there is none.

    A word tokenizer needs every word in its vocabulary; a sub-word tokenizer needs every character.
    """
    normalised = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
    splitter = tokenizer.pre_tokenizer
    words = splitter.pre_tokenize_str(normalised) if splitter else [(normalised, (0, 0))]
    has_parts = type(tokenizer.model).__name__ == "BPE"
    for word, (start, _) in words:
        for part in word if has_parts else (word,):
            if tokenizer.token_to_id(part) is None:
                return f"{part!r}, in {word!r} at character {start}, is not in the vocabulary"
    return None
