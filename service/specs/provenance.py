"""Where a graph came from, and how it was compared with PyTorch."""

from pydantic import Field

from service.specs.spec import Spec


class ParityCheck(Spec):
    """How the graph was compared with PyTorch on the test split. PyTorch in float64 is the truth.

    Errors and limits are pairs: at the quantile, and the largest. They are relative to the scale of each
    number, its root mean square.
    """

    slack: float = Field(1.0, gt=0, description="all limits were multiplied by it (`--parity`); usually 1")
    quantile: float = Field(
        gt=0,
        lt=1,
        description="of the first number of each pair, in the worst column; the second is the largest",
    )
    graph: dict[str, tuple[float, float]] = Field(description="errors of the graph, by tensor")
    pytorch: dict[str, tuple[float, float]] = Field(
        description="errors that float32 causes in PyTorch, by tensor"
    )
    limits: dict[str, tuple[float, float]] = Field(description="of the graph's errors, by tensor")


class Provenance(Spec):
    """Where the graph came from, and how to reproduce it."""

    data_set: str = Field(description="its name")
    citation: str = Field("", description="the data set's publication")
    license: str = Field("", description="the data set's license")
    command: str = Field("", description="the command that made the graph")
    seed: int | None = Field(None, description="of the random numbers")
    created: str = Field("", description="ISO 8601, UTC")
    versions: dict[str, str] = Field(default_factory=dict, description="of the packages that made it")
    parity: dict[str, float] = Field(
        default_factory=dict, description="max abs difference between PyTorch and ONNX Runtime, by tensor"
    )
    parity_check: ParityCheck | None = Field(
        None, description="what that difference was judged by; null: another rule, of earlier versions"
    )
