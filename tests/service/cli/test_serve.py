"""`cellgate serve`: flags and environment reach the server (tests/e2e runs it)."""

from pathlib import Path

import pytest

from service import server
from service.settings import Settings
from tests.service.cli.command import run


def test_settings_reach_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[Settings] = []
    monkeypatch.setattr(server, "run", started.append)
    (tmp_path / "cellgate.toml").write_text("max_batch = 7\n")
    config = str(tmp_path / "cellgate.toml")
    assert run("serve", "--port", "9000", "--config", config, CELLGATE_HOST="0.0.0.0").exit_code == 0
    assert [(s.port, s.host, s.max_batch) for s in started] == [(9000, "0.0.0.0", 7)]


def test_an_invalid_setting_is_refused() -> None:
    refused = run("serve", "--store", "memory", "--workers", "2")
    assert refused.exit_code == 1 and "memory store is not shared" in refused.stderr
