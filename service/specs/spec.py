"""What the specs of a manifest share: their base class, their dtypes, and the sizes of axes."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

DType = Literal["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
Dim = Annotated[int, Field(ge=1)]
Axis = Annotated[int, Field(ge=0, le=3)]


class Spec(BaseModel):
    """A part of a manifest: unknown fields are refused, and it never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values of some fields. What a spec has cached follows from its own fields alone.

        Pydantic copies the values of `cached_property` too, which are those of the fields before the update.
        """
        made = super().model_copy(update=update, deep=deep)
        for name in made.__dict__.keys() - type(self).model_fields.keys():
            del made.__dict__[name]
        return made
