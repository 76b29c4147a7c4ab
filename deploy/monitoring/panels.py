"""The dashboard's panels: what each shows, in which unit, and its PromQL queries.

Written once: `dashboard` makes Grafana's JSON of them, `picture` draws them, and a test runs every query.
"""

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Query:
    """One query, and the name of its lines in Grafana's notation."""

    expression: str
    legend: str


@dataclass(slots=True, frozen=True)
class Panel:
    """One graph."""

    title: str
    unit: str  # of Grafana: s, bytes, reqps, ops, percentunit, short
    queries: tuple[Query, ...]
    text: str = ""


@dataclass(slots=True, frozen=True)
class Row:
    """Panels beside each other under a heading."""

    title: str
    panels: tuple[Panel, ...]


WINDOW = "[$__rate_interval]"
SHADOW = "model, version, shadow"
SHADOW_LEGEND = "{{model}} {{version}} and {{shadow}}"
LABEL_CHANGE = '{event="label_change"}'
INFERENCE = '{route=~"/predict|/generate|/v2/.*infer"}'


def quantile(share: float, metric: str, labels: str = "", by: str = "") -> str:
    """The quantile of a histogram over all workers."""
    of = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({of}) (rate({metric}_bucket{labels}{WINDOW})))"


def rate(metric: str, labels: str = "", by: str = "") -> str:
    """The rate of a counter per second, over all workers."""
    total = f"sum by ({by})" if by else "sum"
    return f"{total} (rate({metric}{labels}{WINDOW}))"


def mean(metric: str) -> str:
    """The mean of a histogram's observations, by model."""
    return f"{rate(f'{metric}_sum', by='model')} / {rate(f'{metric}_count', by='model')}"


ROWS = (
    Row(
        "Requests",
        (
            Panel(
                "Requests per second",
                "reqps",
                (Query(rate("cellgate_request_duration_seconds_count", by="route"), "{{route}}"),),
            ),
            Panel(
                "Latency of inference",
                "s",
                tuple(
                    Query(
                        quantile(share, "cellgate_request_duration_seconds", INFERENCE), f"p{share:.0%}"[:-1]
                    )
                    for share in (0.5, 0.9, 0.99)
                ),
            ),
            Panel(
                "Errors per second",
                "reqps",
                (
                    Query(
                        rate("cellgate_request_duration_seconds_count", '{code!="ok"}', by="status, code"),
                        "{{status}} {{code}}",
                    ),
                ),
                "Refusals such as overloaded, rate_limited and session_conflict, and failures.",
            ),
            Panel(
                "Where the time goes (p99)",
                "s",
                (Query(quantile(0.99, "cellgate_stage_duration_seconds", by="stage"), "{{stage}}"),),
            ),
        ),
    ),
    Row(
        "Engine",
        (
            Panel("Steps per second", "ops", (Query(rate("cellgate_steps_total", by="model"), "{{model}}"),)),
            Panel(
                "Sequences per call",
                "short",
                (Query(mean("cellgate_engine_call_sequences"), "{{model}}"),),
            ),
            Panel(
                "Padding",
                "percentunit",
                (
                    Query(
                        f"{rate('cellgate_padded_steps_total')} / "
                        f"({rate('cellgate_padded_steps_total')} + {rate('cellgate_steps_total')})",
                        "padding",
                    ),
                ),
                "Share of computed steps that no sequence needed.",
            ),
            Panel(
                "Queued work",
                "s",
                (Query("sum by (model) (cellgate_queue_seconds)", "{{model}}"),),
                "Time that the waiting sequences will take. Above max_wait_ms, requests are refused.",
            ),
        ),
    ),
    Row(
        "Sessions",
        (
            Panel("Live sessions", "short", (Query("max (cellgate_sessions)", "sessions"),)),
            Panel("Bytes of sessions", "bytes", (Query("max (cellgate_session_bytes)", "bytes"),)),
            Panel(
                "Events per second",
                "ops",
                (Query(rate("cellgate_session_events_total", by="event"), "{{event}}"),),
            ),
            Panel(
                "Store operations (p99)",
                "s",
                (Query(quantile(0.99, "cellgate_store_duration_seconds", by="operation"), "{{operation}}"),),
            ),
        ),
    ),
    Row(
        "Processes",
        (
            Panel(
                "Workers",
                "short",
                (Query("sum (cellgate_workers)", "running"), Query("sum (cellgate_ready)", "ready")),
            ),
            Panel(
                "Memory",
                "bytes",
                (Query("sum by (instance) (process_resident_memory_bytes)", "{{instance}}"),),
            ),
            Panel(
                "CPUs", "short", (Query(rate("process_cpu_seconds_total", by="instance"), "{{instance}}"),)
            ),
            Panel(
                "Loaded versions",
                "short",
                (
                    Query(
                        "count by (model, version, status) (cellgate_model_info == 1)",
                        "{{model}} {{version}} {{status}}",
                    ),
                ),
            ),
        ),
    ),
    Row(
        "Versions",
        (
            Panel(
                "Difference of a shadow version",
                "short",
                (
                    Query(
                        f"{rate('cellgate_shadow_difference_total', by=SHADOW)} / "
                        f"{rate('cellgate_shadow_values_total', by=SHADOW)}",
                        f"mean, {SHADOW_LEGEND}",
                    ),
                    Query(f"max by ({SHADOW}) (cellgate_shadow_max_difference)", f"largest, {SHADOW_LEGEND}"),
                ),
                "Absolute differences between the outputs of a version and of its shadow.",
            ),
            Panel(
                "Other labels by a shadow version",
                "percentunit",
                (
                    Query(
                        f"{rate('cellgate_shadow_events_total', LABEL_CHANGE, by=SHADOW)} / "
                        f"{rate('cellgate_shadow_steps_total', by=SHADOW)}",
                        SHADOW_LEGEND,
                    ),
                ),
                "Share of the compared steps.",
            ),
            Panel(
                "Requests of a shadow version",
                "ops",
                (
                    Query(
                        rate("cellgate_shadow_events_total", '{event!="label_change"}', f"{SHADOW}, event"),
                        f"{{{{event}}}}, {SHADOW_LEGEND}",
                    ),
                ),
                "Failed, dropped, or begun within a session.",
            ),
            Panel("Faulty policies", "short", (Query("max (cellgate_policy_faults)", "models"),)),
        ),
    ),
)
