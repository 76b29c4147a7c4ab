"""The options that settle what a proposal leaves open, shared by `cellgate inspect` and `cellgate import`."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from service.manifest import Task

Command = Callable[..., Any]
NONE = "none"  # of an axis
NO_AXIS = -1


class _Assignment(click.ParamType[Any]):
    """NAME=VALUE. The name ends at the last "=" for which a value is left."""

    name = "NAME=VALUE"

    def __init__(self, metavar: str, read: Callable[[str], Any]) -> None:
        self.name, self._read = metavar, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A pair of name and value."""
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).rpartition("=")
        if not equals or not name or not text:
            self.fail(f"{value!r}: expected {self.name}", param, ctx)
        try:
            return name, self._read(text)
        except ValueError:
            self.fail(f"{value!r}: expected {self.name}", param, ctx)


class _AxisType(click.ParamType[int]):
    name = "AXIS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """A position, or NO_AXIS."""
        if value == NONE:
            return NO_AXIS
        if not str(value).isdecimal():
            self.fail(f"{value!r}: expected a position from 0 on, or {NONE}", param, ctx)
        return int(value)


def _read_dims(text: str) -> tuple[int, ...]:
    dims = tuple(int(size) for size in text.split(","))
    if min(dims) < 1:
        raise ValueError
    return dims


def _read_rate(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ValueError
    return int(text)


def _read_labels(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Labels separated by commas, or one a line in a file after @."""
    if not value:
        return ()
    if not value.startswith("@"):
        return tuple(value.split(","))
    try:
        return tuple(Path(value[1:]).read_text().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{value[1:]}: {error}") from error


def _read_example(_: click.Context, __: click.Parameter, value: Path | None) -> Any:
    """The steps in a JSON file: an array, or an object with `steps`; null without a file."""
    if value is None:
        return None
    try:
        document = json.loads(value.read_text())
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{value}: {error}") from error
    return document["steps"] if isinstance(document, dict) and "steps" in document else document


POSITIVE, COUNT = click.IntRange(min=1), click.IntRange(min=0)
OPTIONS = [
    click.option(
        "--time-axis", type=_AxisType(), help=f"position of the time axis, from 0 on; {NONE}: there is none"
    ),
    click.option("--batch-axis", type=_AxisType(), help="position of the batch axis, likewise"),
    click.option(
        "--state",
        "states",
        multiple=True,
        type=_Assignment("IN=OUT", str),
        help="the output that is the new value of a state input; may be repeated",
    ),
    click.option(
        "--no-state",
        "no_states",
        multiple=True,
        metavar="IN",
        help="an input that is no state: requests give it with each step; may be repeated",
    ),
    click.option(
        "--per-sequence",
        multiple=True,
        metavar="IN",
        help="an input that requests give once for each sequence; may be repeated",
    ),
    click.option(
        "--answer",
        "answers",
        multiple=True,
        metavar="OUT",
        help="an output to answer, also if it is the new value of a state; may be repeated",
    ),
    click.option(
        "--constant",
        "constants",
        multiple=True,
        type=_Assignment("NAME=VALUE", json.loads),
        help="the value of an input that is always the same, as JSON; may be repeated",
    ),
    click.option(
        "--dims",
        multiple=True,
        type=_Assignment("INPUT=SIZE,…", _read_dims),
        help="the last sizes of an input, where the graph does not fix them; may be repeated",
    ),
    click.option(
        "--audio",
        multiple=True,
        type=_Assignment("INPUT=RATE", _read_rate),
        help="an input that takes sound, with its samples a second; may be repeated",
    ),
    click.option("--window", type=POSITIVE, help="numbers, or steps, that one call of the graph takes"),
    click.option("--hop", type=POSITIVE, help="how many of them are new in each call"),
    click.option("--carry", type=COUNT, help="how many of them the server repeats from the steps before"),
    click.option("--task", type=click.Choice(get_args(Task)), help="default: by the output"),
    click.option(
        "--labels", callback=_read_labels, help="names of the classes: a,b,c or @FILE with one a line"
    ),
    click.option(
        "--example",
        "steps",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        callback=_read_example,
        help="JSON file with the steps of a real sequence; ONNX Runtime computes its answer",
    ),
]


NAMES = (  # as in `repository.Options`
    *(
        "time_axis",
        "batch_axis",
        "states",
        "no_states",
        "per_sequence",
        "answers",
        "constants",
        "dims",
        "audio",
    ),
    *("window", "hop", "carry", "task", "labels", "steps"),
)


def proposal_options(command: Command) -> Command:
    """Add the options. The command receives them as one argument, `options`: the fields of `Options`."""

    @functools.wraps(command)
    def with_options(*settings: Any, **arguments: Any) -> Any:
        options = {name: arguments.pop(name) for name in NAMES}
        options |= {name: dict(options[name]) for name in ("states", "constants", "dims", "audio")}
        return command(*settings, options=options, **arguments)

    decorated: Command = with_options
    for option in reversed(OPTIONS):
        decorated = option(decorated)
    return decorated
