"""What the server shows of itself: metrics, logs and traces."""

from typing import Literal

from pydantic import Field

from service.settings.group import Group


class Metrics(Group):
    """`GET /metrics`."""

    metrics_access: Literal["key", "open"] = Field(
        "key", description="GET /metrics: with an API key, if there are keys, or open to every client"
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="TCP port of a second, plain HTTP server for /metrics alone, without keys; 0 = none",
    )
    metrics_host: str = Field("127.0.0.1", description="address to bind for metrics_port")


class Logging(Group):
    """The log, and its lines for requests."""

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="minimum log level")
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="log format; auto = text on a terminal, otherwise json"
    )
    access_log: bool = Field(True, description="log one line for each request")


class Traces(Group):
    """The times of single requests."""

    server_timing: bool = Field(
        True, description="send the times of a request's stages in the response header Server-Timing"
    )
    otel_endpoint: str = Field(
        "",
        pattern=r"^(https?://.+)?$",
        description="send OpenTelemetry spans to this OTLP/HTTP collector, such as http://127.0.0.1:4318",
    )
