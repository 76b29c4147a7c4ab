"""The fields of a JSON body, checked one by one. All routes that use them report a mistake in the same way.

A mistake is an `InvalidField` with a JSON pointer (RFC 6901) to the value at fault. This file knows JSON and
the rules of names; it knows nothing of models.
"""

from collections.abc import Callable, Set
from typing import Any, NamedTuple

import numpy as np
import orjson

from service.codec import bounds
from service.errors import InvalidField, InvalidJson
from service.names import MAX_STEP, SESSION_NAME, SESSION_NAME_RULE

_KINDS = {
    dict: "an object",
    list: "a list",
    np.ndarray: "a list",  # of numbers, as `fast_json.loads` returns it
    str: "a string",
    bool: "a boolean",
    type(None): "null",
}


class GivenState(NamedTuple):
    """The state that a sequence begins from: a token, or the name of an initial state of the version."""

    value: str
    is_name: bool
    pointer: str  # to the field


def parse_object(body: bytes, loads: Callable[[bytes], Any] = bounds.loads) -> dict[str, Any]:
    """The members of the JSON object that is the body. Raises InvalidJson, InvalidField or TooManyValues."""
    try:
        document = loads(body)
    except orjson.JSONDecodeError as error:
        hint = "; NaN and Infinity are not JSON" if b"NaN" in body or b"Infinity" in body else ""
        raise InvalidJson(f"the body is not JSON: {error}{hint}") from error
    if not isinstance(document, dict):
        raise InvalidField(f"expected an object, got {kind(document)}", pointer="")
    return document


def escaped(name: str) -> str:
    """A name as a part of a pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def refuse_unknown(members: dict[str, Any], known: Set[str], pointer: str = "") -> None:
    """Refuse an object with a field that is not known."""
    for name in members:
        if name not in known:
            raise InvalidField(
                f"unknown field; expected one of {', '.join(sorted(known))}",
                pointer=f"{pointer}/{escaped(name)}",
            )


def read_string(members: dict[str, Any], name: str, pointer: str = "") -> str | None:
    """An optional string."""
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidField(f"expected a string, got {kind(value)}", pointer=f"{pointer}/{name}")
    return value


def read_flag(members: dict[str, Any], name: str, pointer: str = "") -> bool:
    """A boolean; false if it is absent."""
    value = members.get(name, False)
    if value is not True and value is not False:
        raise InvalidField(f"expected true or false, got {kind(value)}", pointer=f"{pointer}/{name}")
    return value


def read_names(members: dict[str, Any], name: str) -> tuple[str, ...]:
    """An optional list of different names; () if it is absent."""
    names = members.get(name)
    if names is None:
        return ()
    if not isinstance(names, list) or not names:
        raise InvalidField(f"expected a list of at least one name, got {kind(names)}", pointer=f"/{name}")
    known: set[str] = set()
    for index, entry in enumerate(names):
        if not isinstance(entry, str):
            raise InvalidField(f"expected a name, got {kind(entry)}", pointer=f"/{name}/{index}")
        if entry in known:
            raise InvalidField("this name appears twice", pointer=f"/{name}/{index}")
        known.add(entry)
    return tuple(names)


def read_session(members: dict[str, Any], pointer: str = "") -> tuple[str | None, int | None, bool]:
    """The fields "session", "at" and "end"."""
    session, at = members.get("session"), members.get("at")
    if session is not None and not (isinstance(session, str) and SESSION_NAME.fullmatch(session)):
        raise InvalidField(SESSION_NAME_RULE, pointer=f"{pointer}/session")
    if at is not None and (type(at) is not int or not 0 <= at <= MAX_STEP):
        raise _not_a_count(at, f"{pointer}/at")
    end = read_flag(members, "end", pointer)
    if session is None and (at is not None or end):
        raise InvalidField('"at" and "end" need a "session"', pointer=pointer)
    return session, at, end


def read_state(members: dict[str, Any], pointer: str = "") -> GivenState | None:
    """The field "state"; what a token holds is not examined."""
    state = members.get("state")
    if state is None:
        return None
    pointer = f"{pointer}/state"
    if isinstance(state, str):
        return GivenState(state, False, pointer)
    if not isinstance(state, dict):
        raise InvalidField(f'expected a state token, or {{"name": …}}, got {kind(state)}', pointer=pointer)
    refuse_unknown(state, {"name"}, pointer)
    if not isinstance(name := state.get("name"), str):
        actual = kind(name) if "name" in state else "nothing"
        raise InvalidField(f"expected a string, got {actual}", pointer=f"{pointer}/name")
    return GivenState(name, True, pointer)


def read_rewinds(members: dict[str, Any], pointer: str = "") -> int | None:
    """The field "rewinds": how often the client believes that the session was rewound."""
    rewinds = members.get("rewinds")
    if rewinds is None:
        return None
    if type(rewinds) is not int or not 0 <= rewinds <= MAX_STEP:
        raise _not_a_count(rewinds, f"{pointer}/rewinds")
    if members.get("session") is None:
        raise InvalidField('"rewinds" needs a "session"', pointer=pointer)
    return rewinds


def read_count(members: dict[str, Any], name: str, smallest: int) -> int | None:
    """An optional integer that is not less than `smallest`, 0 or 1."""
    value = members.get(name)
    if value is None:
        return None
    if type(value) is not int or not smallest <= value <= MAX_STEP:
        raise _not_a_count(value, f"/{name}", smallest)
    return value


def _not_a_count(value: Any, pointer: str, smallest: int = 0) -> InvalidField:
    actual = str(value) if type(value) is int else kind(value)
    return InvalidField(f"expected an integer from {smallest} to 2^53-1, got {actual}", pointer=pointer)


def kind(value: Any) -> str:
    """The JSON type of a value, for a message."""
    if isinstance(value, list | str) and not value:
        return "an empty list" if isinstance(value, list) else "an empty string"
    if isinstance(value, int | float | np.generic) and not isinstance(value, bool):
        return "a number"
    return _KINDS.get(type(value), f"a {type(value).__name__}")
