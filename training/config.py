"""The configuration of a run: a frozen value, saved as JSON beside the weights. Knows nothing of torch."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

CONFIG_FILE, METRICS_FILE = (
    "config.json",
    "metrics.json",
)  # in a run folder; only a finished run has the second
WEIGHTS_FILE = "weights.pt"  # likewise: the network of a finished run
PLATEAU_EPOCHS = 5  # without a lower validation loss, after which the schedule `plateau` acts

Accelerator = Literal["auto", "cpu", "cuda"]
PoolName = Literal["last", "ends", "mean", "attention"]
ScheduleName = Literal["none", "cosine", "plateau"]
LoggerName = Literal["tensorboard", "mlflow"]
PrecisionName = Literal["32-true", "bf16-mixed", "16-mixed"]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Quantile = Annotated[float, Field(gt=0, lt=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Recipe(_Frozen):
    """The network and its training: a data set recommends one, the command line may override it."""

    cell: str = Field("lstm", description="recurrent cell; docs/cells.md lists them")
    hidden: Count = Field(128, description="width of a recurrent layer")
    layers: Count = Field(1, description="number of recurrent layers")
    projection: int = Field(
        0, ge=0, description="width of h in cells with a projection; 0: the cell's default"
    )
    pool: Literal["auto", PoolName] = Field(
        "auto",
        description="steps that a class is computed from: last, the last step; ends, two directions each "
        "where it has read all; mean, attention, all steps; auto: ends for two directions, else last",
    )
    embedding: Count = Field(16, description="width of the embedding of a token")
    tie: bool = Field(
        False,
        description="a language model computes its logits with the embedding, which is then as wide as h",
    )
    input_projection: int = Field(
        0, ge=0, description="width of a learned projection of each numeric input; 0: none"
    )
    epochs: Count = Field(10, description="maximum number of epochs")
    patience: int = Field(
        0,
        ge=0,
        description="stop after this many epochs without a lower validation loss and keep the best epoch; "
        "0: keep the last",
    )
    batch_size: Count = Field(32, description="sequences per optimiser step, over all processes")
    buckets: bool = Field(False, description="batch sequences of similar lengths, which reduces padding")
    bptt: int = Field(
        0,
        ge=0,
        description="truncated BPTT: train on windows of this many steps, each with the state at the end of "
        "the one before; 0: each sequence, or window of the data set, starts with the initial state",
    )
    learning_rate: float = Field(1e-3, gt=0, description="learning rate of Adam")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay (AdamW); 0: plain Adam")
    schedule: ScheduleName = Field(
        "none",
        description="of the learning rate over the epochs: none, it is constant; cosine, it decays to zero; "
        f"plateau, it is halved after {PLATEAU_EPOCHS} epochs without a lower validation loss",
    )
    warm_up: int = Field(
        0, ge=0, description="epochs in which the learning rate grows linearly, batch by batch; 0: none"
    )
    balance: bool = Field(
        False,
        description="classes, or true and false of each label, weigh alike in the loss, however rare; "
        "probabilities are less calibrated",
    )
    calibrate: bool = Field(
        True,
        description="divide the logits of classes by a temperature that is fitted on the validation part, "
        "where it lowers the loss there by more than chance would",
    )
    thresholds: Literal["half", "f1"] = Field(
        "half",
        description="of independent labels, from which probability on each is predicted: half, 0.5; f1, the "
        "threshold of each label with the largest F1 on the validation part",
    )
    conformal: bool = Field(
        False,
        description="widen the bands of a forecast or a regression to hold their nominal share of the "
        "validation part",
    )
    label_smoothing: Share = Field(0.0, description="share of the target that is spread over all classes")
    clip: float = Field(0.0, ge=0, description="largest norm of a gradient; 0: no limit")
    dropout: Share = Field(0.0, description="share of the last hidden state dropped in training")
    recurrent_dropout: Share = Field(
        0.0, description="share of the weights of the state dropped in training, the same in all steps"
    )
    zoneout: Share = Field(
        0.0,
        description="share of h and c that a step leaves as they were in training, and its mean afterwards",
    )
    layer_dropout: Share = Field(0.0, description="share dropped between recurrent layers in training")
    noise: float = Field(
        0.0, ge=0, description="standard deviation added to the normalised input in training"
    )
    validation: float = Field(0.1, gt=0, lt=1, description="share of the training part used for validation")

    @model_validator(mode="before")
    @classmethod
    def _read_anneal(cls, values: Any) -> Any:
        """Older files have the switch `anneal` for what is now the schedule `cosine`."""
        if isinstance(values, dict) and isinstance(values.get("anneal"), bool) and "schedule" not in values:
            others = {name: value for name, value in values.items() if name != "anneal"}
            return {**others, "schedule": "cosine" if values["anneal"] else "none"}
        return values

    @field_validator("schedule")
    @classmethod
    def _acts_before_the_end(cls, schedule: ScheduleName, info: ValidationInfo) -> ScheduleName:
        patience = info.data.get("patience", 0)
        if schedule == "plateau" and 0 < patience <= PLATEAU_EPOCHS:
            raise PydanticCustomError(
                "schedule",
                "plateau acts after {epochs} epochs without a lower validation loss, and --patience "
                "{patience} ends the training by then; it must be larger",
                {"epochs": PLATEAU_EPOCHS, "patience": patience},
            )
        return schedule

    @field_validator("warm_up")
    @classmethod
    def _ends_before_the_training(cls, warm_up: int, info: ValidationInfo) -> int:
        epochs = info.data.get("epochs", warm_up)
        if warm_up > epochs:
            raise PydanticCustomError(
                "warm_up", "expected at most the number of epochs, {epochs}", {"epochs": epochs}
            )
        return warm_up


class Table(_Frozen):
    """A table of the user's own, and how to interpret it."""

    path: str
    sha256: str = Field(description="of the file; a changed file is another data set")
    targets: tuple[str, ...]
    task: Literal["classify", "label", "multilabel", "regress", "forecast", "language"] | None = Field(
        None, description="None: decided by the target"
    )
    separator: str | None = Field(
        None, min_length=1, description="of the task multilabel: between labels; None: a column each"
    )
    labels_of: Literal["sequence", "step"] | None = Field(
        None, description="likewise: what has labels; None: sequences, if no label changes within one"
    )
    empty_labels: Literal["none", "unknown"] = Field(
        "none", description="likewise: whether a field without labels has none of them, or is unknown"
    )
    tokens: Literal["characters", "words", "subwords"] | None = Field(
        None, description="of the task language; None: characters"
    )
    vocabulary: Count | None = Field(None, description="words or sub-words to learn; None: 1,000")
    id_column: str | None = Field(None, description="None: all rows are one sequence")
    time_column: str | None = Field(
        None, description="None: steps are equally far apart, in the file's order"
    )
    time_format: str | None = Field(None, description="see service.manifest.TimeSpec; None: by the values")
    time_zone: str | None = Field(None, description="likewise: the zone of times without an offset")
    known: tuple[str, ...] = Field((), description="columns whose later values a forecast is given")
    static: tuple[str, ...] = Field((), description="columns with one value in each sequence")
    calendar: tuple[str, ...] = Field(
        (), description="parts of the calendar that are inputs, or auto; none: no note proposes any"
    )
    missing: tuple[str, ...] | None = Field(
        None, description="texts that mean that there is no value; None: those of training.data.file"
    )
    duplicates: Literal["keep", "drop", "last"] = Field(
        "keep", description="drop: rows equal to an earlier one; last: all but the last of an id and a time"
    )
    horizons: tuple[Count, ...] = Field((1,), description="steps ahead to forecast")
    quantiles: tuple[Quantile, ...] = Field(
        (),
        description="of each number of a forecast or a regression, rising; empty: those of a forecast are "
        "training.data.dataset.QUANTILES, a regression has none",
    )
    season: int | None = Field(
        None,
        ge=0,
        description="steps of a season, of which seasonal baselines are made; 0: none; None: found in the "
        "training part",
    )
    ignore: tuple[str, ...] = ()
    categorical: tuple[str, ...] = Field((), description="columns whose numbers are categories")
    test: Annotated[float, Field(gt=0, le=0.4)] = Field(
        0.2, description="share of the test part, and of the validation part"
    )
    split_by: Literal["sequences", "time"] | None = Field(
        None, description="whole sequences, or pieces of each; None: by the number of sequences"
    )
    split_column: str | None = Field(None, description="says train, validation or test in each row")
    group_column: str | None = Field(None, description="the sequences of a group stay in one part")
    test_from: str | None = Field(None, description="time of the first row of the test part")
    test_data: str | None = Field(None, description="path of a file that is the test part")
    test_sha256: str | None = None
    folds: Annotated[int, Field(ge=0)] = Field(0, description="of a cross-validation; 0: none")
    fold: Annotated[int, Field(ge=0)] = Field(0, description="the fold that is the test part, from 0")

    @field_validator("quantiles")
    @classmethod
    def _rise(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(quantiles)) < len(quantiles):
            raise PydanticCustomError("quantiles", "a quantile is named twice")
        return tuple(sorted(quantiles))


class WarmStart(_Frozen):
    """The finished run whose weights another run starts with."""

    run: str = Field(description="path of the run folder")
    sha256: str = Field(description="of its weights; changed weights are another start")


class Config(_Frozen):
    """One run: the recipe, the data set, the seed, and the machine it runs on."""

    data: str = Field(description="name of the data set, or of the table's file")
    recipe: Recipe
    table: Table | None = None
    warm_start: WarmStart | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    accelerator: Accelerator = "auto"
    devices: Count = Field(1, description="processes, one per device; more than one trains by DDP")
    threads: Count = Field(
        1, description="threads of each process; the number changes the last digits of the weights"
    )
    precision: PrecisionName = Field(
        "32-true",
        description="of the products in training; weights, evaluation and export are float32 in each case",
    )
    compile: bool = Field(False, description="train with torch.compile")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `config.json` from a run folder. Raises OSError, or pydantic.ValidationError.

        A bidirectional run from before there was a `pool` read both directions at the last step.
        """
        config = cls.model_validate_json((folder / CONFIG_FILE).read_bytes())
        if config.recipe.cell == "bidirectional" and "pool" not in config.recipe.model_fields_set:
            recipe = config.recipe.model_copy(update={"pool": "last"})
            return config.model_copy(update={"recipe": recipe})
        return config

    def write(self, folder: Path) -> None:
        """Write `config.json` into a run folder."""
        (folder / CONFIG_FILE).write_text(self.model_dump_json(indent=1) + "\n")
