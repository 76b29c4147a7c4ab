"""Check a server, point by point: a table, and exit status 0 if all that the server offers holds.

    python -m tests.conformance --url http://127.0.0.1:8000 [--model M] [--key KEY]

Exit status 1: a point does not hold. 2: the server cannot be checked.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.conformance import core, extensions
from tests.conformance.target import NotOffered, Target, Unusable

HOLDS, FAILS, NOT_OFFERED = "holds", "FAILS", "not offered"
MAX_REASON = 120


class Result(NamedTuple):
    """Of one point."""

    point: str
    outcome: str
    title: str
    reason: str = ""


def check(target: Target) -> Iterator[Result]:
    """Check all points, in order. What a server breaks at one does not end the rest."""
    for point, title, run in (*core.POINTS, *extensions.POINTS):
        try:
            run(target)
        except NotOffered as reason:
            yield Result(point, NOT_OFFERED, title, str(reason))
        except Exception as error:  # noqa: BLE001 - also of a reply that lacks a member, or a connection that breaks
            reason_text = " ".join(f"{type(error).__name__}: {error}".split())
            yield Result(point, FAILS, title, reason_text.removeprefix("AssertionError: ")[:MAX_REASON])
        else:
            yield Result(point, HOLDS, title)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--url", required=True, help="of the server, as http://127.0.0.1:8000")
    parser.add_argument("--model", help="the model to ask; default: the first of the repository index")
    parser.add_argument("--key", help="an API key, sent as Authorization: Bearer")
    options = parser.parse_args(arguments)
    write = sys.stdout.write
    try:
        target = Target.open(options.url, options.model, options.key)
    except Unusable as error:
        write(f"{error}\n")
        return 2
    outcomes = []
    for result in check(target):
        outcomes.append(result.outcome)
        write(f"{result.point:5} {result.outcome:12} {result.title}\n")
        if result.reason:
            write(f"{'':5} {'':12}   {result.reason}\n")
    target.client.close()
    counts = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in (HOLDS, FAILS, NOT_OFFERED))
    write(f"{options.url}, model {target.model}: {counts}\n")
    return 1 if FAILS in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
