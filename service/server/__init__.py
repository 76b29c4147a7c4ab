"""Processes, sockets and signals: one worker process, or a parent that keeps several alive.

It knows uvicorn and the operating system; what a worker serves is built by `service.app`.
"""

from service.server.run import run

__all__ = ["run"]
