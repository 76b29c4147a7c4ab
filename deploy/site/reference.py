"""Reference pages made from the code: HTTP routes, settings, errors, the Python client, and the manifest."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import cellgate
from service import errors
from service.errors import CellgateError
from service.repository import Repository
from service.settings import GROUPS
from tests.manifest_reference import default_of, reference, type_of
from tests.service.api.parts import Api


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
    rows = sorted({(each.status, each.code, each.summary()) for each in _tree(CellgateError)})
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
    """Every route of the OpenAPI document, with its parameters and the codes of its errors."""
    document = Api(Repository([])).openapi()
    lines = ["# HTTP routes", "", "A running server shows them at `/docs`, with samples, and tries them."]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            lines += ["", f"## {method.upper()} {path}", "", route.get("description") or route["summary"], ""]
            for each in route.get("parameters", []):
                lines.append(f"- `{each['name']}` ({each['in']}): {each.get('description', '')}")
            answers = ", ".join(f"{status}" for status in route["responses"])
            lines += ["", f"Answers: {answers}."]
    return "\n".join(lines) + "\n"


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


def manifest_page() -> str:
    """Every field of `model.json`."""
    explained = "The fields of `model.json`; [Your model](../your-model.md) explains them."
    return f"# Manifest\n\n{explained}\n\n{reference()}"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "http.md": http_page,
    "client.md": client_page,
    "manifest.md": manifest_page,
}


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
