"""What the specs of a manifest share: their base class, their dtypes, and the sizes of axes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

DType = Literal["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
Dim = Annotated[int, Field(ge=1)]
Axis = Annotated[int, Field(ge=0, le=3)]


class Spec(BaseModel):
    """A part of a manifest: unknown fields are refused, and it never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
