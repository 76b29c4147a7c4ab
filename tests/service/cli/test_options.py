"""Settings as flags: each has its description, its variable and its default."""

import pytest

from service.settings import Settings
from tests.service.cli.command import run


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_a_documented_flag_of_serve(name: str) -> None:
    shown = run("serve", "--help").output
    assert f"--{name.replace('_', '-')}" in shown
    assert f"[CELLGATE_{name.upper()};" in shown


def test_a_default_is_shown_once() -> None:
    shown = run("serve", "--help").output
    assert "[CELLGATE_MAX_BATCH; 64]" in " ".join(shown.split()) and "[default" not in shown


def test_an_error_is_one_line_and_exit_status_1() -> None:
    shown = run("models", "--models-dir", "/nowhere")
    assert shown.exit_code == 1 and shown.output.startswith("Error: no model in /nowhere")
    shown = run("models", CELLGATE_MODLES_DIR="x")
    assert shown.exit_code == 1 and "no such option" in shown.output
    assert len(shown.output.splitlines()) == 1
