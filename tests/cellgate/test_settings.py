"""Where a client's settings come from, and what they refuse."""

from typing import Any

import pytest

from cellgate import AsyncClient, Client, Settings


def test_the_environment_has_the_url_and_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLGATE_URL", "https://cellgate.example/ml")
    monkeypatch.setenv("CELLGATE_API_KEY", "cg_secret")
    for client in (Client(), AsyncClient()):
        assert client.core.settings.url == "https://cellgate.example/ml"
        assert client.core.http_options()["headers"]["authorization"] == "Bearer cg_secret"
        assert "cg_secret" not in repr(client) + repr(client.core.settings)
    other = Client("http://other:9000", api_key="cg_other").core.settings
    assert (other.url, other.api_key) == ("http://other:9000", "cg_other")


def test_without_it_the_server_is_on_this_machine() -> None:
    client = Client(max_retry_s=5)
    assert repr(client) == "Client('http://127.0.0.1:8000')"
    assert client.core.settings.max_retry_s == 5
    assert "authorization" not in client.core.http_options()["headers"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "localhost:8000"}, "url: expected http"),
        ({"url": "ftp://host"}, "url: expected http"),
        ({"timeout_s": 0}, "timeout_s: expected a number above 0, got 0"),
        ({"max_retry_s": -1}, "max_retry_s: expected a number from 0, got -1"),
        ({"max_retry_s": float("nan")}, "max_retry_s"),
        ({"max_connections": 0}, "max_connections"),
    ],
)
def test_a_value_out_of_range_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**options)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="retries"):
        Client(retries=3)  # type: ignore[call-arg]
