"""What identifies a request in logs: its id, and the trace that it is in. It knows headers only."""

import itertools
import os
import re

from service import trace
from service.http.messages import Request

REQUEST_ID = re.compile(rb"[!-~]{1,128}")
NAMING_HEADERS = frozenset({b"x-request-id", trace.HEADER})


class Identities:
    """Gives each request an id."""

    def __init__(self) -> None:
        # Random once, then counted: a system call less per request.
        self._prefix = os.urandom(8).hex().encode()
        self._numbers = itertools.count()

    def identify(self, request: Request) -> None:
        """Set the id: the client's X-Request-ID if it is fit to be logged, else a new one. Set the trace."""
        for header in request.headers:
            if header[0] in NAMING_HEADERS:
                _read_names(request)
                break
        if not request.id:
            request.id = b"%b-%x" % (self._prefix, next(self._numbers))


def _read_names(request: Request) -> None:
    """Set the id and the trace that the headers of a request name."""
    num_traces = 0
    for name, value in request.headers:
        if name == b"x-request-id":
            if not request.id and REQUEST_ID.fullmatch(value):
                request.id = value
        elif name == trace.HEADER:
            num_traces += 1
            request.trace = trace.parse(value) if num_traces == 1 else None  # several are malformed
