"""How the table that a model was trained on is read: which column is which number of which input.

With it, and with the inputs of the manifest, a row of the table is a step of a request:

    {"temperature": 41, "mode": "run", "timestamp": "2024-05-01T10:05"}
        column       input    place
        temperature  numbers  0        41.0
        (derived)    numbers  1        minutes since the step before, 0.0 at the first
        (derived)    numbers  2        hour_sin: the sine of the time of day
        mode         mode     0        the id of "run" in the input's vocabulary

It knows names, times and units; it knows nothing of requests, of sessions, or of how a file is parsed.
"""

from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from service.calendar import CalendarFeature, calendar
from service.specs import InputSpec, Spec
from service.times import NUMBER, TimeSpec


class TableColumn(Spec):
    """A number or a category of a step, by the name of its column."""

    name: str = Field(description="of the column; of a derived one, its name among the input's features")
    kind: Literal["number", "category"] = Field(description="category: a token of the input's vocabulary")
    input: str = Field(description="the input that it belongs to")
    place: int = Field(0, ge=0, description="its place in a step of that input")
    unit: str = Field("", description="empty: unknown")
    of: str | None = Field(
        None,
        exclude_if=lambda of: of is None,
        description="the column of the table whose value it has, `ahead` steps later; null: that of its name",
    )
    ahead: int = Field(
        0,
        ge=0,
        exclude_if=lambda ahead: ahead == 0,
        description="the value so many steps later, which is known in advance; of a part of the calendar, "
        "after so many times the usual spacing",
    )
    derived: Literal["since_previous"] | CalendarFeature | None = Field(
        None,
        description="not a column of the table, but computed from the time column: the time since the "
        "previous step, or the sine or the cosine of a part of the calendar",
    )

    @property
    def is_own(self) -> bool:
        """Whether it is a column of the table, at the step itself."""
        return self.derived is None and self.of is None


class LabelsSpec(Spec):
    """How a table says which labels are true, of a model of several labels."""

    of: Literal["sequence", "step"] = Field(description="what has labels: a sequence as a whole, or each row")
    separator: str | None = Field(
        None,
        description="between the labels in the one target column; null: each label is a column of 0 and 1",
    )
    empty: Literal["none", "unknown"] | None = Field(
        None, description="of a column with a separator: whether an empty field has no label, or is unknown"
    )


class TableSpec(Spec):
    """How a table is read. A row without a value in a column is `null` there."""

    id_column: str | None = Field(None, description="names the sequence of a row; null: there is one")
    time: TimeSpec | None = Field(None, description="null: steps have no times")
    columns: tuple[TableColumn, ...] = Field(description="in the order of the table; derived ones last")
    unused: tuple[str, ...] = Field(
        (), description="columns that no input has: targets of a classification, ignored and empty ones"
    )
    targets: tuple[str, ...] = Field((), description="the columns that the model predicts")
    horizons: tuple[int, ...] = Field((), description="of a forecast: how many rows ahead")
    horizon_names: tuple[str, ...] = Field((), description='a name for each: "+4 steps"')
    labels: LabelsSpec | None = Field(None, description="how labels are read; null: the task is another one")
    missing: tuple[str, ...] = Field((), description="texts that mean that there is no value, as null does")

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        id_and_time = [self.id_column, self.time.column if self.time else None]
        names = [*filter(None, id_and_time), *self.unused, *(column.name for column in self.columns)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"table: two columns are called {', '.join(twice)}")
        unknown = sorted(set(self.targets) - set(names))
        if unknown:
            raise ValueError(f"table: the target {unknown[0]!r} is no column")
        if len(self.horizons) != len(self.horizon_names):
            raise ValueError(f"table: {len(self.horizon_names)} names for {len(self.horizons)} horizons")
        if self.time is None and any(column.derived for column in self.columns):
            raise ValueError("table: a derived column needs a time column")
        if self.time is not None and self.time.format == NUMBER and self.calendar:
            raise ValueError(f"table: {self.calendar[0].name!r} needs dates, but times are plain numbers")
        return self

    @model_validator(mode="after")
    def _ahead_is_known(self) -> Self:
        own = {column.name for column in self.columns if column.is_own and column.kind == "number"}
        for column in self.columns:
            if (column.of is None) == (column.ahead > 0 and column.derived is None):
                raise ValueError(f"table: column {column.name!r} has only one of `of` and `ahead`")
            if column.of is not None and (
                column.of not in own or column.of in self.targets or column.derived
            ):
                raise ValueError(f"table: {column.of!r} is no number that is known ahead")
            if column.ahead and (column.kind == "category" or column.derived == "since_previous"):
                raise ValueError(f"table: column {column.name!r} is not known ahead")
            if column.ahead and column.derived and not (self.time and self.time.spacing):
                raise ValueError(f"table: {column.name!r} needs the spacing of the times")
        return self

    @cached_property
    def known(self) -> frozenset[str]:
        """The names of all columns of the table; derived ones are none of it."""
        own = (column.name for column in self.columns if column.is_own)
        time = None if self.time is None else self.time.column
        return frozenset({*own, *self.unused, *filter(None, (self.id_column, time))})

    @cached_property
    def texts_of_null(self) -> frozenset[str]:
        """`missing` as a set."""
        return frozenset(self.missing)

    def value(self, value: Any) -> Any:
        """A value of a column as it is written: null for a text that means that there is none."""
        return None if isinstance(value, str) and value in self.texts_of_null else value

    @cached_property
    def known_ahead(self) -> frozenset[str]:
        """The columns whose later values a step has too."""
        return frozenset(column.of for column in self.columns if column.of is not None)

    @cached_property
    def since_previous(self) -> TableColumn | None:
        """The derived column; None: there is none."""
        return next((column for column in self.columns if column.derived == "since_previous"), None)

    @cached_property
    def calendar(self) -> tuple[TableColumn, ...]:
        """The columns that are features of the calendar."""
        return tuple(column for column in self.columns if column.derived not in (None, "since_previous"))

    def calendar_at(self, seconds: float, later: int = 0) -> list[float]:
        """The values of `calendar` at a step's time, or so many steps of the usual spacing after it.

        Raises ValueError for a year that no clock shows.
        """
        assert self.time is not None
        features = [(column.derived, column.ahead + later) for column in self.calendar]
        return calendar(self.time, features, seconds)  # type: ignore[arg-type]

    @cached_property
    def needs_times(self) -> bool:
        """Whether a step without a time is none."""
        return any(column.derived for column in self.columns)

    def of_input(self, name: str) -> tuple[TableColumn, ...]:
        """The columns of an input, by their places in a step."""
        return tuple(sorted((c for c in self.columns if c.input == name), key=lambda column: column.place))

    @cached_property
    def by_name(self) -> dict[str, TableColumn]:
        """The columns of the inputs by name."""
        return {column.name: column for column in self.columns}

    def fault(self, inputs: tuple[InputSpec, ...]) -> str | None:
        """Why the columns are not exactly the numbers of these inputs; None if they are."""
        expected = {
            (spec.name, place): spec.features[place] if spec.features else spec.name
            for spec in inputs
            for place in range(spec.width)
        }
        actual = {(column.input, column.place): column for column in self.columns}
        if len(actual) < len(self.columns) or actual.keys() != expected.keys():
            return f"{len(self.columns)} columns are not the {len(expected)} places of the inputs, each once"
        tokens = {spec.name for spec in inputs if spec.kind == "token"}
        for at, column in actual.items():
            if column.name != expected[at]:
                return f"column {column.name!r} is {expected[at]!r} in input {column.input!r}"
            if (column.kind == "category") != (column.input in tokens):
                return f"column {column.name!r} is a {column.kind}, but input {column.input!r} is not"
        return None
