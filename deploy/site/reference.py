"""Reference pages made from the code: routes, settings, errors, metrics, commands and client."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import click

import cellgate
from deploy.monitoring.reference import metrics_table
from deploy.site import routes
from service import errors
from service.__main__ import main as service_commands
from service.errors import CellgateError, StartupError
from service.repository import Repository
from service.settings import GROUPS
from tests.manifest_reference import default_of, type_of
from tests.service.api.parts import Api
from training.__main__ import main as training_commands


def settings_page() -> str:
    """Every setting by group, with its flag's name, type, default and meaning."""
    lines = [
        "# Settings",
        "",
        "Each is a variable of the environment, `CELLGATE_` before its name in capitals; a key of a TOML "
        "file (`--config`, `CELLGATE_CONFIG`); or a flag of `cellgate serve`, `--` before its name with "
        "dashes. Flags win over the environment, which wins over the file.",
    ]
    for heading, group in GROUPS.items():
        lines += ["", f"## {heading}", "", "| setting | value | default | meaning |", "|---|---|---|---|"]
        for name, field in group.model_fields.items():
            meaning = (field.description or "").replace("|", "\\|")
            lines.append(f"| `{name}` | {type_of(field.annotation)} | {default_of(field)} | {meaning} |")
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """Every error that a client can get: status, code, and when."""
    rows = sorted(
        {(each.status, each.code, each.summary()) for each in _tree(CellgateError) if _is_sent(each)}
    )
    lines = [
        "# Errors",
        "",
        "Errors are `application/problem+json` (RFC 9457) with a stable `code`, and a JSON pointer to the "
        'value at fault; on `/v2` they are `{"error": …, "code": …}`. The Python client raises a class '
        "for each code.",
        "",
        "| status | code | when |",
        "|---|---|---|",
    ]
    return "\n".join([*lines, *(f"| {status} | `{code}` | {text} |" for status, code, text in rows)]) + "\n"


def http_page() -> str:
    """Every route except those of `/v2`, with its fields and the codes of its errors."""
    start = (
        "A running server shows the routes at `/docs`, with samples and a form that sends requests. "
        "[HTTP API](../http-api.md) explains the fields."
    )
    return routes.page(_openapi(), "HTTP routes", start, prefix="/")


def v2_page() -> str:
    """Every route of the Open Inference Protocol."""
    start = "The routes of the [Open Inference Protocol](../oip.md), which explains parameters and datatypes."
    return routes.page(_openapi(), "`/v2` routes", start, prefix="/v2")


def metrics_page() -> str:
    """Every metric of `/metrics`."""
    start = "The metrics of `GET /metrics`. [Metrics](../metrics.md) has Prometheus, alerts and a dashboard."
    return f"# Metrics reference\n\n{start}\n\n{metrics_table()}\n"


def commands_page() -> str:
    """Every command, with its options, as `--help` prints them."""
    lines = ["# Commands", "", "The help of each command, as `--help` prints it."]
    for name, group in (("cellgate", service_commands), ("cellgate-train", training_commands)):
        for title, command, context in _commands(name, group, None):
            lines += ["", f"## {title}", "", "```text", command.get_help(context), "```"]
    return "\n".join(lines) + "\n"


def _openapi() -> dict[str, Any]:
    return Api(Repository([])).openapi()


def _commands(
    name: str, command: click.Command, parent: click.Context | None
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """A command and those below it, in order of name."""
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100)
    yield context.command_path, command, context
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found is not None
            yield from _commands(each, found, context)


def client_page() -> str:
    """Every public name of the package `cellgate`, with its signature and docstring."""
    lines = ["# Python client", "", inspect.getdoc(cellgate) or ""]
    for name in sorted(cellgate.__all__):
        value = getattr(cellgate, name)
        if inspect.isclass(value) and issubclass(value, Exception):
            continue  # each is one code: see Errors
        lines += ["", f"## {name}", "", inspect.getdoc(value) or ""]
        lines += _members(value) if inspect.isclass(value) else []
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "http.md": http_page,
    "v2.md": v2_page,
    "metrics.md": metrics_page,
    "commands.md": commands_page,
    "client.md": client_page,
}


def _is_sent(each: type[CellgateError]) -> bool:
    """Whether clients get this class itself: neither a group of others nor an error of the start."""
    return not each.__subclasses__() and not issubclass(each, StartupError)


def _tree(root: type[CellgateError]) -> Iterator[type[CellgateError]]:
    if root.__name__ in errors.__all__:
        yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def _members(value: type[Any]) -> Iterator[str]:
    for name, member in inspect.getmembers(value):
        if name.startswith("_") or not (callable(member) or isinstance(member, property)):
            continue
        yield f"\n### {value.__name__}.{name}\n"
        if not isinstance(member, property):
            yield f"```python\n{name}{inspect.signature(member)}\n```\n"
        yield inspect.getdoc(member) or ""
