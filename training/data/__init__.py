"""The data sets: one module each, with `load() -> DataSet` and `RECIPES`. A new data set is a new file."""

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from training.config import Config, Recipe
from training.data import table, texts
from training.data.dataset import DataSet

_NOT_A_DATA_SET = (
    "appended",
    "calendar",
    "columns",
    "criteria",
    "dataset",
    "description",
    "doubts",
    "fetch",
    "file",
    "known",
    "label_doubts",
    "labels",
    "rows",
    "season",
    "series",
    "splits",
    "stamps",
    "static",
    "steps",
    "summary",
    "table",
    "targets",
    "texts",
    "times",
    "tokens",
)


def names() -> list[str]:
    """The names of all data sets."""
    return sorted(
        module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NOT_A_DATA_SET
    )


def load(name: str) -> DataSet:
    """Load a data set, downloaded on the first call. Raises FetchError, or KeyError for an unknown name."""
    if name not in names():
        raise KeyError(f"no data set {name!r}; there are: {', '.join(names())}")
    loaded: DataSet = import_module(f"{__name__}.{name}").load()
    return loaded


def load_for(config: Config, test_data: Path | None = None) -> DataSet:
    """The data set or the table of a configuration. Raises FetchError, KeyError, TableError.

    `test_data`: for a table, a file that replaces the test part.
    """
    return table.load(config.table, test_data) if config.table else load(config.data)


def recipes(name: str) -> Mapping[str, Recipe]:
    """The recipes of a data set by name; the first is its default."""
    by_name: Mapping[str, Recipe] = import_module(f"{__name__}.{name}").RECIPES
    return by_name


def about(name: str) -> str:
    """The description of a data set: the docstring of its module."""
    return (import_module(f"{__name__}.{name}").__doc__ or "").strip()


def default_recipe(config: Config) -> Recipe:
    """The default recipe of the data set or the table."""
    if config.table is None:
        by_name = recipes(config.data)
    else:
        by_name = texts.RECIPES if config.table.task == "language" else table.RECIPES
    return next(iter(by_name.values()))
