"""The data sets: one module each, with `load() -> DataSet` and `RECIPES`. A new one is a new file."""

import pkgutil
from collections.abc import Mapping
from importlib import import_module

from training.config import Config, Recipe
from training.data import table
from training.data.dataset import DataSet

_NOT_A_DATA_SET = ("columns", "dataset", "fetch", "file", "rows", "series", "table", "tokens")


def names() -> list[str]:
    """Every data set that can be named on the command line."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if found.name not in _NOT_A_DATA_SET)


def load(name: str) -> DataSet:
    """Load a data set, fetching it on the first call. Raises FetchError, or KeyError for an unknown name."""
    if name not in names():
        raise KeyError(f"no data set {name!r}; there are: {', '.join(names())}")
    loaded: DataSet = import_module(f"{__name__}.{name}").load()
    return loaded


def load_for(config: Config) -> DataSet:
    """What a run is told to learn from. Raises FetchError, KeyError, TableError."""
    return table.load(config.table) if config.table else load(config.data)


def recipes(name: str) -> Mapping[str, Recipe]:
    """The recipes that a data set recommends, by name; the first is its default."""
    found: Mapping[str, Recipe] = import_module(f"{__name__}.{name}").RECIPES
    return found


def about(name: str) -> str:
    """What a data set is, in the words of its module."""
    return (import_module(f"{__name__}.{name}").__doc__ or "").strip()


def default_recipe(config: Config) -> Recipe:
    """What the recipe is if nothing is said."""
    found = table.RECIPES if config.table else recipes(config.data)
    return next(iter(found.values()))
