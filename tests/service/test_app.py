"""Which parts are built from the settings, and what becomes of a shared folder that is missing."""

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from service.app import hardware_of, rates_of, tenants_of
from service.http.keys import new_key
from service.settings import Settings


@pytest.mark.parametrize(
    ("cpus", "settings", "shares"),
    [
        (2, {}, True),
        (2, {"share_cores": False}, False),
        (2, {"workers": 1, "threads": 1}, False),
        (2, {"threads": 2}, False),
        (4, {"workers": 2, "threads": 1}, False),  # there are CPUs enough for the threads of each worker
        (2, {"workers": 4}, False),
        (3, {}, True),
    ],
)
def test_cores_are_shared_where_each_worker_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int, settings: dict[str, Any], shares: bool
) -> None:
    monkeypatch.setattr("service.cpus.usable", lambda: cpus)
    chosen = Settings(sessions_dir=tmp_path / "sessions", **settings)
    assert chosen.shares_cores is shares
    hardware = hardware_of(chosen, tmp_path)
    assert (tmp_path / "slot-0").exists() is shares
    has_second_cpu = len(os.sched_getaffinity(0)) > 1
    assert (hardware.open_cores() is not None) is (shares and has_second_cpu)


def test_a_server_starts_without_its_shared_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.cpus.usable", lambda: 2)
    settings = Settings(sessions_dir=tmp_path / "sessions", keys=SecretStr(f"acme={new_key()[1]}"))
    missing = tmp_path / "missing"
    assert hardware_of(settings, missing).open_cores() is None
    assert "cores are not shared" in caplog.text
    rates_of(tenants_of(settings), missing)
    assert "each worker counts the requests of tenants by itself" in caplog.text
