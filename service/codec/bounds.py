"""How much JSON is read at all: counted in a body's bytes, before a value of it is made.

A Python value takes up to thirty times its JSON (`[]`), and the interpreter does nothing else while it is
made. So there is a bound on both: the values of a body, and those of them that become Python objects. It
knows no request.
"""

from typing import Any

import orjson

from service.errors import TooManyValues

MANY_VALUES = 500_000  # of one body: more are read in pieces, if they are in rectangles
MAX_VALUES = 2_000_000  # of one body that is not read in pieces
MAX_OBJECTS = 200_000  # of them outside of rectangles of numbers: orjson makes them within some 20 ms


def has_many(body: bytes) -> bool:
    """Whether a body has more values than are read at once."""
    return len(body) > MANY_VALUES and _count(body) > MANY_VALUES


def check_values(body: bytes) -> None:
    """Refuse a body with more values than are read other than in pieces. Raises TooManyValues."""
    if len(body) > MAX_VALUES and (count := _count(body)) > MAX_VALUES:
        raise TooManyValues(
            f"the body has {count} JSON values, and not all in rectangles of numbers: the maximum is "
            f"{MAX_VALUES}; send several requests, or binary tensors to /v2"
        )


def loads(body: bytes) -> Any:
    """The same as orjson.loads, of at most `MAX_OBJECTS` values. Raises TooManyValues or JSONDecodeError."""
    if len(body) > MAX_OBJECTS and (count := _count(body)) > MAX_OBJECTS:
        raise TooManyValues(
            f"the body has {count} JSON values which are not rectangles of numbers, the maximum is "
            f"{MAX_OBJECTS}; send several requests"
        )
    return orjson.loads(body)


def _count(body: bytes) -> int:
    """At least as many as there are values: each follows a comma, or opens a list or an object.

    Names of members count too, since each becomes an object, and so do the signs within texts.
    """
    return 1 + body.count(b",") + body.count(b"[") + body.count(b"{") + body.count(b":")
