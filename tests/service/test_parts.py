"""What the settings and the environment ask for."""

import asyncio
import contextlib
import logging
import sys

import pytest

from service.errors import StartupError
from service.parts import open_tracer_of
from service.settings import Settings

ENDPOINT = "http://127.0.0.1:9"


def has_tracer(endpoint: str = "") -> bool:
    async def work() -> bool:
        async with contextlib.AsyncExitStack() as stack:
            return open_tracer_of(stack, Settings(otel_endpoint=endpoint)) is not None

    return asyncio.run(work())


@pytest.mark.parametrize(
    ("endpoint", "variables", "expected"),
    [
        ("", {}, False),
        (ENDPOINT, {}, True),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT}, True),
        ("", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ENDPOINT}, True),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_SDK_DISABLED": "True"}, False),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_spans_are_off_unless_asked_for(
    endpoint: str, variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert has_tracer(endpoint) is expected


def test_without_its_libraries_the_setting_stops_the_start_and_a_variable_warns(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "service.metrics.otel", None)
    monkeypatch.delattr("service.metrics.otel", raising=False)
    with pytest.raises(StartupError, match="libraries are not installed"):
        has_tracer(ENDPOINT)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", ENDPOINT)
    with caplog.at_level(logging.WARNING):
        assert not has_tracer()
    assert "the extra otel is not installed" in caplog.text


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "http://", "grpc://127.0.0.1:4317"])
def test_an_endpoint_is_a_url(endpoint: str) -> None:
    with pytest.raises(StartupError, match="otel_endpoint"):
        Settings.load({"otel_endpoint": endpoint}, {})
