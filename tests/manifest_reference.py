"""The reference of fields in docs/manifest.md: python -m tests.manifest_reference writes it."""

import sys
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from service.manifest import (
    Axes,
    EstimateSpec,
    Example,
    ForecastSpec,
    GatesSpec,
    InputSpec,
    LabelsSpec,
    Manifest,
    OutputSpec,
    ParityCheck,
    Provenance,
    StateSpec,
    TableColumn,
    TableSpec,
    TimeSpec,
)

PAGE = Path(__file__).parents[1] / "docs" / "manifest.md"
BEGIN, END = "<!-- fields: begin -->\n", "<!-- fields: end -->\n"
MODELS: dict[type[BaseModel], str] = {
    Manifest: "model.json",
    InputSpec: "inputs",
    Axes: "axes",
    StateSpec: "states",
    OutputSpec: "outputs",
    ForecastSpec: "forecasts",
    EstimateSpec: "estimates",
    GatesSpec: "gates",
    TableSpec: "table",
    TimeSpec: "time",
    TableColumn: "columns",
    LabelsSpec: "labels",
    Example: "example",
    Provenance: "provenance",
    ParityCheck: "parity_check",
}
NAMES = {
    str: "text",
    SecretStr: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "any",
    Path: "path",
}


def reference() -> str:
    """One table of fields for each part of a manifest."""
    return "\n".join(_table(model, title) for model, title in MODELS.items())


def with_reference(page: str) -> str:
    """The page, with the reference between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


def _table(model: type[BaseModel], title: str) -> str:
    rows = [_row(name, field) for name, field in model.model_fields.items()]
    head = ["| field | value | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"### `{title}`", "", *head, *rows]) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    meaning = (field.description or "").replace("|", "\\|")
    return f"| `{name}` | {type_of(field.annotation)} | {default_of(field)} | {meaning} |"


def default_of(field: FieldInfo) -> str:
    """A default as JSON, in backquotes."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_none=True)
    if value is None:
        return "null"
    return f"`{_json(value)}`" if value not in ("",) else '`""`'


def _json(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_json, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}": {_json(each)}' for key, each in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    return (
        f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    )


def type_of(annotation: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in NAMES:
        return NAMES[annotation]
    if origin is Annotated:
        return type_of(arguments[0])
    if origin is Literal:
        return ", ".join(f'`"{value}"`' if isinstance(value, str) else f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(type_of, arguments)))
    if origin in (tuple, list):
        return f"list of {type_of(arguments[0])}"
    if origin is dict:
        return f"object of {type_of(arguments[1])}"
    return f"[object](#{MODELS[annotation]})" if annotation in MODELS else str(annotation)


if __name__ == "__main__":
    PAGE.write_text(with_reference(PAGE.read_text()))
    sys.exit(0)
