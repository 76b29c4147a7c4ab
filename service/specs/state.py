"""A recurrent tensor of a graph."""

from functools import cached_property
from typing import Literal, Self

from pydantic import Field, model_validator

from service.specs.spec import Axis, Dim, DType, Spec


class StateSpec(Spec):
    """A recurrent tensor, input and output of the graph: one row of the batch axis per sequence."""

    input: str = Field(description="the graph input that takes it")
    output: str = Field(description="the graph output that holds its new value")
    shape: tuple[Dim | Literal["batch"], ...] = Field(
        description="e.g. [1, 'batch', 128]; without 'batch', a call holds one sequence"
    )
    dtype: DType = Field("float32", description="the dtype of the graph input and output")
    initial: float = Field(0.0, description="value of every element at step 0")
    grows: Axis | None = Field(
        None,
        description="position in `shape` of an axis that has the size 0 at step 0 and grows, at most to the "
        "size in `shape`, as a cache of the last steps does; null: the shape is the same in every step",
    )

    @model_validator(mode="after")
    def _a_sized_axis_grows(self) -> Self:
        if self.grows is not None and (self.grows >= len(self.shape) or self.shape[self.grows] == "batch"):
            raise ValueError(
                f"state {self.input!r}: axis {self.grows} of {list(self.shape)} cannot grow: expected the "
                "position of a size, which is the largest"
            )
        return self

    @model_validator(mode="after")
    def _at_most_one_batch_axis(self) -> Self:
        if self.shape.count("batch") > 1:
            raise ValueError(f"state {self.input!r}: more than one batch axis in {list(self.shape)}")
        return self

    @model_validator(mode="after")
    def _initial_has_the_dtype(self) -> Self:
        if not self.dtype.startswith("float") and not _is_in(self.initial, self.dtype):
            raise ValueError(f"state {self.input!r}: the initial value {self.initial} is not {self.dtype}")
        return self

    @cached_property
    def batch_axis(self) -> int | None:
        """Position of the batch axis; None if there is none: then a batch holds one sequence."""
        return self.shape.index("batch") if "batch" in self.shape else None

    @cached_property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one sequence's state: `shape` without the batch axis."""
        return tuple(dim for dim in self.shape if dim != "batch")

    @cached_property
    def row_grows(self) -> int | None:
        """Position in `row_shape` of the axis that grows; None: the shape is the same in every step."""
        if self.grows is None:
            return None
        return self.grows - (self.batch_axis is not None and self.batch_axis < self.grows)

    @cached_property
    def initial_shape(self) -> tuple[int, ...]:
        """Shape of one sequence's state at step 0."""
        return tuple(0 if axis == self.row_grows else size for axis, size in enumerate(self.row_shape))

    def allows(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of the graph, with its batch axis, may have this shape."""
        return len(shape) == len(self.shape) and all(
            most in ("batch", size) or (axis == self.grows and size <= int(most))
            for axis, (size, most) in enumerate(zip(shape, self.shape, strict=True))
        )


def _is_in(value: float, dtype: str) -> bool:
    """Whether an integer or boolean dtype has this value."""
    bits = 1 if dtype == "bool" else int(dtype.lstrip("uint"))
    signed = dtype.startswith("int")
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return value.is_integer() and lowest <= value <= highest
