"""Where the batch and time axes of a tensor are."""

from typing import Self

from pydantic import Field, model_validator

from service.specs.spec import Axis, Dim, Spec


class Axes(Spec):
    """The positions of the batch and time axes in a tensor of the graph; the other axes are the dims."""

    batch: Axis | None = Field(0, description="position of the batch axis; null: there is none")
    time: Axis | None = Field(1, description="position of the time axis; null: there is none")
    batch_size: Dim | None = Field(
        None, description="set where the graph fixes the batch: calls with fewer sequences are filled up"
    )
    time_size: Dim | None = Field(
        None,
        description="set where the graph fixes the time axis. 1: one step a call. T, without states: a "
        "sequence has exactly T steps. T, with states: a multiple of T",
    )

    @model_validator(mode="after")
    def _axes_differ(self) -> Self:
        if self.batch is not None and self.batch == self.time:
            raise ValueError(f"batch and time cannot both be axis {self.batch}")
        return self

    @model_validator(mode="after")
    def _sizes_have_an_axis(self) -> Self:
        for name in ("batch", "time"):
            size = getattr(self, f"{name}_size")
            if size is not None and getattr(self, name) is None:
                raise ValueError(f"{name}_size is {size}, but there is no {name} axis ({name} is null)")
        return self
