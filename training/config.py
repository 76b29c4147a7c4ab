"""What one training run is told: a frozen value, saved as JSON beside the weights. Knows nothing of torch."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

CONFIG_FILE, METRICS_FILE = "config.json", "metrics.json"  # of a run folder; the latter once it is finished

Accelerator = Literal["auto", "cpu", "cuda"]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Recipe(_Frozen):
    """The network and how it is trained: what a data set recommends and the command line may change."""

    cell: str = Field("lstm", description="the recurrent cell; docs/lstm.md lists them")
    hidden: Count = Field(128, description="width of a recurrent layer")
    layers: Count = Field(1, description="recurrent layers")
    projection: int = Field(
        0, ge=0, description="width that the cell projects h to, where it does; 0: the cell's own"
    )
    embedding: Count = Field(16, description="width of a token's embedding, where the input has tokens")
    input_projection: int = Field(
        0, ge=0, description="width that each input of numbers is projected to by a learnt layer; 0: none"
    )
    epochs: Count = Field(10, description="the most epochs")
    patience: int = Field(
        0,
        ge=0,
        description="stop after so many epochs without a better validation loss and keep the best; "
        "0: keep the last",
    )
    batch_size: Count = Field(32, description="sequences per optimiser step, over all processes")
    buckets: bool = Field(False, description="batch sequences of like lengths, so that less is padded")
    learning_rate: float = Field(1e-3, gt=0, description="of Adam")
    weight_decay: float = Field(0.0, ge=0, description="decoupled, as in AdamW; 0 is plain Adam")
    anneal: bool = Field(False, description="let the learning rate fall to zero over the epochs, as a cosine")
    clip: float = Field(0.0, ge=0, description="the largest norm of a gradient; 0: any")
    dropout: Share = Field(0.0, description="share of the last hidden state dropped in training")
    layer_dropout: Share = Field(0.0, description="share dropped between recurrent layers in training")
    noise: float = Field(
        0.0, ge=0, description="standard deviation added to the normalised input in training"
    )
    validation: float = Field(0.1, gt=0, lt=1, description="share of the training part kept for validation")


class Table(_Frozen):
    """A table of one's own, and how it is to be understood."""

    path: str
    sha256: str = Field(description="of the file, so that the run can be told from one on other data")
    targets: tuple[str, ...]
    task: Literal["classify", "label", "forecast"] | None = Field(None, description="None: by the target")
    id_column: str | None = Field(None, description="None: all rows are one sequence")
    time_column: str | None = Field(
        None, description="None: steps are equally far apart, in the file's order"
    )
    horizons: tuple[Count, ...] = Field((1,), description="steps ahead that are foretold")
    ignore: tuple[str, ...] = ()
    categorical: tuple[str, ...] = Field((), description="numbers that stand for kinds")
    test: Annotated[float, Field(gt=0, le=0.4)] = Field(
        0.2, description="share for the test, and for validation"
    )


class Config(_Frozen):
    """One run: the recipe, the data set, the seed, and the machine it runs on."""

    data: str = Field(description="its name; that of the file, if it is a table of one's own")
    recipe: Recipe
    table: Table | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    accelerator: Accelerator = "auto"
    devices: Count = Field(1, description="processes, one per device; more than one trains by DDP")
    threads: Count = Field(1, description="per process; the count changes the last digits, so it is pinned")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `config.json` from a run folder. Raises OSError, or pydantic.ValidationError."""
        return cls.model_validate_json((folder / CONFIG_FILE).read_bytes())

    def write(self, folder: Path) -> None:
        """Write `config.json` into a run folder."""
        (folder / CONFIG_FILE).write_text(self.model_dump_json(indent=1) + "\n")
