"""The reference of the HTTP API: each route, with the fields of its request and reply, and its errors.

It knows the OpenAPI document, and nothing of how it is made.
"""

import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
REF = "#/components/schemas/"
MAX_DEPTH = 1  # of lists and objects whose content is named


def page(document: Json, title: str, start: str, *, prefix: str) -> str:
    """A page of Markdown about the routes whose path begins with `prefix`; "/": all but those of /v2."""
    paths = {
        path: methods
        for path, methods in document["paths"].items()
        if path.startswith(prefix) and (prefix != "/" or not re.match(r"/v2(/|$)", path))
    }
    lines = [f"# {title}", "", start]
    used: list[str] = []
    for path, methods in paths.items():
        for method, route in methods.items():
            lines += ["", f"## {method.upper()} {path}", "", route.get("description") or route["summary"]]
            lines += _route(route, used)
    return "\n".join([*lines, *_schemas(document["components"]["schemas"], used)]) + "\n"


def _route(route: Json, used: list[str]) -> Iterator[str]:
    """Parameters, request, reply and errors of a route. Names of schemas are added to `used`."""
    parameters = [each for each in route.get("parameters", []) if each.get("description")]
    if parameters:
        yield from ("", "| parameter | in | meaning |", "|---|---|---|")
        for each in parameters:
            yield f"| `{each['name']}` | {each['in']} | {_cell(each['description'])} |"
    request = _content(route.get("requestBody", {}), used)
    if request:
        yield from ("", f"**Request:** {request}.")
    for status, answer in route["responses"].items():
        if status < "400":
            reply = _content(answer, used) or answer["description"]
            yield from ("", f"**{status}:** {reply.rstrip('.')}.")
    codes = [
        f"{status} {', '.join(f'`{code}`' for code in examples)}"
        for status, answer in route["responses"].items()
        for examples in [_examples(answer)]
        if status >= "400" and examples
    ]
    if codes:
        yield from ("", f"**Errors:** {' · '.join(codes)}.")


def _examples(answer: Json) -> list[str]:
    """The codes of an error response."""
    return [code for media in answer.get("content", {}).values() for code in media.get("examples", {})]


def _content(body: Json, used: list[str]) -> str:
    """The type of a body, in words; empty for none."""
    types = []
    for media, content in body.get("content", {}).items():
        schema = content.get("schema", {})
        types.append(_type(schema, used) if media == "application/json" else f"`{media}`")
    return " or ".join(types)


def _schemas(schemas: Json, used: list[str]) -> Iterator[str]:
    """A table of fields for each schema that a route uses, or another schema of the page."""
    if used:
        yield from ("", "## Objects")
    for name in used:  # grows meanwhile, by the schemas of fields
        schema = schemas[name]
        yield from ("", f"### {name}", "", schema.get("description", ""))
        if not schema.get("properties"):
            yield from ("", f"Value: {_type({**schema, 'title': ''}, used)}.")
            continue
        yield from ("", "| field | value | meaning |", "|---|---|---|")
        required = schema.get("required", [])
        for field, value in schema["properties"].items():
            meaning = value.get("description", "")
            needed = "required" if field in required and name.endswith("Body") else ""
            text = "; ".join(filter(None, (needed, meaning)))
            yield f"| `{field}` | {_cell(_type(value, used))} | {_cell(text)} |"


def _type(schema: Json, used: list[str], depth: int = 0) -> str:
    """A schema in words, with links to objects. Their names are added to `used`."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REF)
        if name not in used:
            used.append(name)
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        words = " or ".join(dict.fromkeys(_type(each, used, depth) for each in schema["anyOf"]))
        return f"({words})" if depth else words
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind in ("array", "object"):
        noun = "list" if kind == "array" else "object"
        inner = schema.get("items" if kind == "array" else "additionalProperties")
        if isinstance(inner, dict) and inner and depth < MAX_DEPTH:
            return f"{noun} of {_type(inner, used, depth + 1)}"
        return noun
    return {"string": "text", "boolean": "true or false", None: "any"}.get(kind, str(kind))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
