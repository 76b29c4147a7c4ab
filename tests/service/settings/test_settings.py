"""Precedence of flags, environment, file and defaults; unknown options are errors."""

from pathlib import Path
from typing import Any

import pytest

from service.cpus import usable
from service.errors import StartupError
from service.settings import MAX_AUTO_WORKERS, Settings


def write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "cellgate.toml").write_text(text)
    return tmp_path / "cellgate.toml"


def test_flags_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = write(tmp_path, "port = 1\nmax_batch = 2\nchunk_steps = 3\n")
    environ = {"CELLGATE_PORT": "10", "CELLGATE_MAX_BATCH": "20", "PORT": "99"}
    loaded = Settings.load({"port": 100, "max_batch": None}, environ, file)
    assert (loaded.port, loaded.max_batch, loaded.chunk_steps, loaded.max_sequences) == (100, 20, 3, 1024)


def test_cellgate_config_names_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "port = 1\n")
    assert Settings.load({}, {"CELLGATE_CONFIG": str(file), "CELLGATE_DATA_DIR": "/x"}).port == 1


def test_an_empty_variable_counts_as_unset(tmp_path: Path) -> None:
    """`CELLGATE_WORKERS: ${WORKERS:-}` in a compose file was an error: an empty string is not a number."""
    file = write(tmp_path, 'port = 1\nkeys = "acme=sha256:0"\n')
    loaded = Settings.load({}, {f"CELLGATE_{name.upper()}": "" for name in Settings.model_fields}, file)
    assert loaded == Settings.load({}, {}, file) and loaded.port == 1


@pytest.mark.parametrize(
    ("flags", "environ", "text", "expected"),
    [
        ({}, {"CELLGATE_PROT": "1"}, "", r"CELLGATE_PROT = '1' \(from environment\): no such option"),
        ({}, {"CELLGATE_PROT": ""}, "", r"CELLGATE_PROT = '' \(from environment\): no such option"),
        ({}, {}, "prot = 1", r"prot = 1 \(from file .*cellgate.toml\): no such option"),
        ({"port": -1}, {}, "", r"port = -1 \(from flags\): .* greater than or equal to 0"),
        ({}, {"CELLGATE_STORE": "sqlite"}, "", "CELLGATE_STORE = 'sqlite'"),
        ({}, {"CELLGATE_STORE": "memory", "CELLGATE_WORKERS": "2"}, "", "memory store is not shared"),
        ({}, {}, "port = ", "settings file"),
    ],
)
def test_an_invalid_option_is_reported_with_its_source(
    tmp_path: Path, flags: dict[str, Any], environ: dict[str, str], text: str, expected: str
) -> None:
    with pytest.raises(StartupError, match=expected):
        Settings.load(flags, environ, write(tmp_path, text))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="No such file"):
        Settings.load({}, {}, tmp_path / "none.toml")


def test_settings_are_frozen_and_each_has_a_description() -> None:
    loaded = Settings.load({}, {})
    with pytest.raises(ValueError, match="frozen"):
        loaded.port = 1  # type: ignore[misc]
    assert all(field.description for field in Settings.model_fields.values())


def test_a_secret_is_masked_in_an_error(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"keys = \*\*\* \(from file") as raised:
        Settings.load({}, {}, write(tmp_path, "keys = 424242"))
    assert "424242" not in raised.value.detail


def test_workers_and_threads_share_the_cpus() -> None:
    cases = {(0, 0): (8, 1), (2, 0): (2, 4), (2, 3): (2, 3), (16, 0): (16, 1)}
    for (workers, threads), expected in cases.items():
        loaded = Settings.load({"workers": workers, "threads": threads}, {}).with_cpus(8)
        assert (loaded.num_workers, loaded.num_threads) == expected
    assert Settings.load({"store": "memory"}, {}).with_cpus(8).num_workers == 1
    assert Settings().num_workers == min(usable(), MAX_AUTO_WORKERS)


@pytest.mark.parametrize("name", ["session_ttl_s", "session_min_idle_s", "drain_s", "request_timeout_s"])
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_duration_must_be_finite(name: str, value: str) -> None:
    with pytest.raises(StartupError, match="finite"):
        Settings.load({}, {f"CELLGATE_{name.upper()}": value})
