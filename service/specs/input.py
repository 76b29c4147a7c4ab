"""An input of a time step, or of a whole sequence."""

import math
from functools import cached_property
from typing import Literal, Self

from pydantic import Field, model_validator

from service.specs.spec import Dim, DType, Spec

InputKind = Literal["numeric", "token", "image", "video", "audio"]


class InputSpec(Spec):
    """One named input of a time step, and the values that it accepts."""

    name: str = Field(description="its name in a request")
    tensor: str | None = Field(
        None, description="the graph input that receives it; null: the one of the same name"
    )
    kind: InputKind = Field("numeric", description="what its numbers are")
    dtype: DType = Field("float32", description="the dtype of the graph input")
    dims: tuple[Dim, ...] = Field((), description="shape of one time step; () for one number a step")
    per: Literal["step", "sequence"] = Field(
        "step",
        description="sequence: it has no time axis. It is given once, with the first piece of a session or "
        "with a whole sequence, and kept with the session's state",
    )
    carry: int = Field(
        0,
        ge=0,
        description="how many numbers before a step's own, along the first dim, the graph takes too: the "
        "last ones of the steps before, zeros at step 0. The graph's first dim is dims[0] + carry",
    )
    sample_rate: int | None = Field(
        None,
        ge=1,
        description="kind audio: samples a second. A step is a frame of dims[0] samples of one channel, or, "
        "where dims is empty, one sample, between -1 and 1. Frames do not overlap; `carry` repeats what the "
        "graph needs of those before",
    )
    size: Dim | None = Field(
        None, description="token kinds: every id must be below it; null: below the vocabulary's size, if any"
    )
    features: tuple[str, ...] = Field((), description="a name for each feature, in order; empty: unnamed")
    units: tuple[str, ...] = Field((), description="a unit for each feature, in order; empty: not stated")
    vocabulary: tuple[str, ...] = Field((), description="token kinds: entry i is the text of token id i")
    tokenizer: str | None = Field(
        None, description="token kinds that take text: JSON of the `tokenizers` library"
    )
    unknown: int | None = Field(
        None,
        ge=0,
        description="token kinds: the id of tokens that are not in the vocabulary; null: they are refused",
    )
    numbers: Literal["ids", "tokens"] = Field(
        "ids",
        description="token kinds: what a number in a request is: the id of a token, or, where tokens are the "
        'categories of a table, the token that is written so, such as "2"',
    )
    missing: Literal["error", "nan"] = Field(
        "error", description="what a null becomes: an error, or NaN, which the graph must handle"
    )
    missing_token: int | None = Field(
        None, ge=0, description="token kinds: the id that a null becomes; null: it is refused"
    )

    @model_validator(mode="after")
    def _names_fit_the_width(self) -> Self:
        for field in ("features", "units"):
            names: tuple[str, ...] = getattr(self, field)
            if names and len(names) != self.width:
                raise ValueError(f"input {self.name!r}: {len(names)} {field} for {self.width} numbers a step")
        return self

    @model_validator(mode="after")
    def _text_has_a_vocabulary(self) -> Self:
        special = {"unknown": self.unknown, "missing": self.missing_token}
        ids = {meaning: number for meaning, number in special.items() if number is not None}
        if (self.tokenizer is not None or ids) and (self.kind != "token" or not self.vocabulary):
            raise ValueError(f"input {self.name!r}: text needs the kind token and a vocabulary")
        if self.numbers == "tokens" and not self.vocabulary:
            raise ValueError(f"input {self.name!r}: numbers that are tokens need a vocabulary")
        for meaning, number in ids.items():
            if number >= len(self.vocabulary):
                raise ValueError(f"input {self.name!r}: the {meaning} token is not in the vocabulary")
        return self

    @model_validator(mode="after")
    def _size_bounds_tokens(self) -> Self:
        if self.size is not None and self.kind != "token":
            raise ValueError(f"input {self.name!r}: size is the number of token ids; its kind is {self.kind}")
        if self.size is not None and self.size < len(self.vocabulary):
            raise ValueError(
                f"input {self.name!r}: size {self.size} is less than the {len(self.vocabulary)} tokens of "
                "the vocabulary"
            )
        return self

    @model_validator(mode="after")
    def _audio_is_frames_of_samples(self) -> Self:
        if (self.kind == "audio") != (self.sample_rate is not None):
            raise ValueError(
                f"input {self.name!r}: the kind audio needs a sample_rate, and no other kind has one"
            )
        if self.kind == "audio" and (
            len(self.dims) > 1 or self.per != "step" or not self.dtype.startswith("float")
        ):
            raise ValueError(
                f"input {self.name!r}: audio is a float, or a row of floats, for each step; its dims are "
                f"{list(self.dims)}, its dtype is {self.dtype}, per {self.per}"
            )
        return self

    @model_validator(mode="after")
    def _carry_has_a_dim(self) -> Self:
        if self.carry and (self.per == "sequence" or not self.dims):
            raise ValueError(
                f"input {self.name!r}: carry continues the first dim of a step, "
                + ("but it has no steps" if self.per == "sequence" else "but dims is empty")
            )
        return self

    @cached_property
    def graph_input(self) -> str:
        """The graph input that receives it."""
        return self.name if self.tensor is None else self.tensor

    @cached_property
    def takes_integers(self) -> bool:
        """Whether a time step holds integers."""
        return self.kind == "token" or self.dtype.startswith(("int", "uint"))

    @cached_property
    def takes_null(self) -> bool:
        """Whether a null is a value: a missing number, or the token of a missing category."""
        return self.missing_token is not None if self.kind == "token" else self.missing == "nan"

    @cached_property
    def num_ids(self) -> int | None:
        """Token kinds: every id is below it. None: only the graph knows."""
        return len(self.vocabulary) or self.size

    @cached_property
    def graph_dims(self) -> tuple[int, ...]:
        """The shape of one time step in the graph: `dims`, and what is carried over from the steps before."""
        return (self.dims[0] + self.carry, *self.dims[1:]) if self.carry else self.dims

    @cached_property
    def kept_shape(self) -> tuple[int, ...] | None:
        """The shape of what is kept of this input with a session's state; None: nothing."""
        if self.per == "sequence":
            return self.dims
        return (self.carry, *self.dims[1:]) if self.carry else None

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each token of the vocabulary."""
        return {token: index for index, token in enumerate(self.vocabulary)}

    @cached_property
    def longest(self) -> int:
        """Characters of the longest token, and one for the separator before the next."""
        return max(map(len, self.vocabulary), default=0) + 1

    @cached_property
    def width(self) -> int:
        """Numbers in one time step."""
        return math.prod(self.dims)


def written_forms(value: bool | float) -> tuple[str, ...]:
    """How a table may write a number or a boolean; the first is the usual form."""
    if isinstance(value, bool):
        return ("true", "True", "TRUE") if value else ("false", "False", "FALSE")
    if math.isfinite(value) and value == int(value):
        return (str(int(value)), f"{int(value)}.0")
    return (repr(value),)
