"""Text ↔ token ids, by the tokenizer of a manifest. Knows the `tokenizers` library, which is an extra.

No mark of beginning or end is added to a text: so its pieces, cut between tokens, give the same ids as the
whole.
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from service.errors import CellgateError, InvalidField, StartupError
from service.manifest import InputSpec

NUM_TRIED = 16  # tokens


class TokenizerError(Exception):
    """The library has refused a tokenizer or a text."""


class TokenizerPanic(TokenizerError):
    """The library has run into a bug of its own."""


def check(spec: InputSpec) -> None:
    """Check that the tokenizer can be used and has the vocabulary of the input. Raises StartupError."""
    if spec.tokenizer is None:
        return
    try:
        with _library_errors():
            vocabulary = _load(spec.tokenizer).get_vocab()
    except ImportError as error:
        raise StartupError(
            f"input {spec.name!r} takes text: pip install tokenizers (the extra `text`)"
        ) from error
    except TokenizerError as error:
        raise StartupError(f"input {spec.name!r}: the tokenizer cannot be read: {error}") from error
    if vocabulary != spec.ids:
        raise StartupError(f"input {spec.name!r}: the tokenizer and the vocabulary differ")
    _try(spec)


def encode(spec: InputSpec, text: str, pointer: str) -> list[int]:
    """The token ids of a text. Raises InvalidField if the input takes no text, or not this one."""
    if spec.tokenizer is None:
        raise InvalidField(f"input {spec.name!r} takes no text: it has no tokenizer", pointer=pointer)
    tokenizer = _load(spec.tokenizer)
    try:
        with _library_errors():
            if spec.unknown is None and (fault := _find_unknown(tokenizer, text)):
                raise InvalidField(fault, pointer=pointer)
            ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    except TokenizerError as error:
        raise InvalidField(f"the tokenizer cannot read the text: {error}", pointer=pointer) from error
    return ids


def decode(spec: InputSpec, ids: list[int]) -> str | None:
    """The text of token ids; None if the input has no tokenizer."""
    if spec.tokenizer is None:
        return None
    text: str = _load(spec.tokenizer).decode(ids, skip_special_tokens=False)
    return text


class TextPieces:
    """The text of generated tokens, piece by piece: some characters take several tokens."""

    def __init__(self, spec: InputSpec) -> None:
        """Of an input with a tokenizer. `tokenizers` knows which bytes are a whole character."""
        from tokenizers.decoders import DecodeStream  # an optional dependency

        self._spec = spec
        self._stream = DecodeStream(skip_special_tokens=False)
        self._written = ""

    def add(self, token: int) -> str:
        """The text that a further token completes; often that of the token, sometimes none."""
        try:
            with _library_errors():
                piece: str = self._stream.step(_load(self._spec.tokenizer or ""), token) or ""
        except TokenizerError:  # the text so far has changed with it; `rest` has what can be added
            return ""
        self._written += piece
        return piece

    def rest(self, ids: list[int]) -> str:
        """What the pieces lack of the whole text; nothing if that does not begin with them."""
        whole = decode(self._spec, ids) or ""
        return whole.removeprefix(self._written) if whole.startswith(self._written) else ""


@functools.lru_cache(maxsize=32)
def _load(tokenizer: str) -> Any:
    from tokenizers import Tokenizer  # an optional dependency

    loaded = Tokenizer.from_str(tokenizer)
    # They would add tokens to a text, or drop some without a word.
    loaded.no_padding()
    loaded.no_truncation()
    return loaded


@contextlib.contextmanager
def _library_errors() -> Iterator[None]:
    """What the library raises as TokenizerError. It panics, too, which is no `Exception`."""
    try:
        yield
    except (CellgateError, ImportError):
        raise
    except BaseException as error:
        if isinstance(error, Exception):
            raise TokenizerError(str(error)) from error
        if type(error).__name__ == "PanicException":
            raise TokenizerPanic(str(error)) from error
        raise


def _try(spec: InputSpec) -> None:
    """Use a tokenizer on its first tokens: if it panics, or ends the process, then at the load.

    Raises StartupError.
    """
    tokenizer, tokens = _load(spec.tokenizer or ""), list(spec.ids)[:NUM_TRIED]
    try:
        with _library_errors():
            tokenizer.encode(" ".join(tokens), add_special_tokens=False)
            tokenizer.decode([spec.ids[token] for token in tokens])
    except TokenizerPanic as error:
        raise StartupError(f"input {spec.name!r}: the tokenizer fails on a text: {error}") from error
    except TokenizerError:  # it may refuse a text, such as one with spaces
        return


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
