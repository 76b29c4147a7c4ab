"""The configuration: frozen, validated, and equal after a round trip through its file."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from training.config import CONFIG_FILE, Config, Recipe, Table

RECIPES = st.builds(
    Recipe,
    cell=st.sampled_from(["lstm", "gru"]),
    hidden=st.integers(1, 512),
    patience=st.integers(0, 30),
    learning_rate=st.floats(1e-6, 1),
    dropout=st.floats(0, 0.9),
    validation=st.floats(0.01, 0.9),
    buckets=st.booleans(),
)
TABLES = st.builds(
    Table,
    path=st.text(min_size=1, max_size=8),
    sha256=st.just("0" * 64),
    targets=st.tuples(st.text(min_size=1, max_size=4)),
    task=st.sampled_from([None, "classify", "label", "forecast"]),
    horizons=st.tuples(st.integers(1, 9)),
    test=st.floats(0.01, 0.4),
)


@given(
    recipe=RECIPES, table=st.one_of(st.none(), TABLES), seed=st.integers(0, 2**31), devices=st.integers(1, 8)
)
def test_a_configuration_is_read_as_it_was_written(
    recipe: Recipe, table: Table | None, seed: int, devices: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("config")
    config = Config(data="d", recipe=recipe, table=table, seed=seed, devices=devices)
    config.write(folder)
    assert Config.read(folder) == config
    text = (folder / CONFIG_FILE).read_text()
    config.write(folder)
    assert (folder / CONFIG_FILE).read_text() == text, "two runs are compared by this text"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden", 0),
        ("layers", 0),
        ("projection", -1),
        ("epochs", 0),
        ("patience", -1),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("weight_decay", -0.1),
        ("clip", -1.0),
        ("dropout", 1.0),
        ("layer_dropout", -0.1),
        ("noise", -1.0),
        ("validation", 0.0),
        ("validation", 1.0),
        ("schedule", "linear"),
        ("warm_up", -1),
        ("warm_up", 11),
        ("hiden", 3),
    ],
)
def test_an_invalid_recipe_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        Recipe(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("seed", -1), ("devices", 0), ("threads", 0), ("accelerator", "tpu"), ("machine", "here")],
)
def test_an_invalid_configuration_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        Config(**{"data": "d", "recipe": Recipe(), field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("horizons", (0,)), ("test", 0.5), ("test", 0), ("task", "guess")]
)
def test_an_invalid_table_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        Table(**{"path": "p", "sha256": "", "targets": ("y",), field: value})


def test_a_configuration_is_frozen() -> None:
    config = Config(data="d", recipe=Recipe())
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        config.recipe.hidden = 3  # type: ignore[misc]


def test_the_file_of_an_older_run_without_new_fields_has_their_defaults(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text(json.dumps({"data": "vowels", "recipe": {"hidden": 24}}))
    config = Config.read(tmp_path)
    assert (config.recipe.hidden, config.recipe.cell, config.recipe.buckets) == (24, "lstm", False)
    assert (config.table, config.seed, config.devices, config.threads) == (None, 0, 1, 1)


@pytest.mark.parametrize(("anneal", "schedule"), [(True, "cosine"), (False, "none")])
def test_the_switch_anneal_of_an_older_run_is_a_schedule(anneal: bool, schedule: str, tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text(json.dumps({"data": "moby", "recipe": {"anneal": anneal}}))
    recipe = Config.read(tmp_path).recipe
    assert recipe == Recipe.model_validate({"schedule": schedule})
    with pytest.raises(ValidationError, match="anneal"):
        Recipe.model_validate({"anneal": anneal, "schedule": "plateau"})


def test_a_plateau_that_could_never_act_is_refused() -> None:
    with pytest.raises(ValidationError, match="--patience 5 ends the training by then"):
        Recipe(schedule="plateau", patience=5)
    assert Recipe(schedule="plateau", patience=6).patience == 6
    assert Recipe(schedule="plateau").patience == 0


def test_the_file_of_a_newer_run_with_unknown_fields_is_refused(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text(json.dumps({"data": "vowels", "recipe": {"future": 1}}))
    with pytest.raises(ValidationError, match="future"):
        Config.read(tmp_path)


def test_every_field_of_a_recipe_has_a_help_text_and_a_default() -> None:
    for name, field in Recipe.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name
        assert not field.description.endswith("."), "click shows it as it is"
