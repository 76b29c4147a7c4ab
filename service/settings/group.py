"""What each group of settings is: a frozen model; unknown fields are errors."""

from pydantic import BaseModel, ConfigDict


class Group(BaseModel):
    """Settings under one heading of `serve --help`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
