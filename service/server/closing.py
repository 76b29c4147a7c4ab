"""Stops a server that listens without cutting off a request that is on its way."""

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import Sequence

import uvicorn

ACCEPT_S = 0.02  # to accept the connections that are established when the server stops to listen
LAST_S = 0.5  # for the requests that clients have sent on idle connections
SO_ATTACH_FILTER = 26  # asm-generic/socket.h
# Classic BPF: drop a segment with the flag SYN, the second of the bits at offset 13 of the TCP header.
NO_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 2), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))


class ClosingServer(uvicorn.Server):
    """uvicorn's, with a stop that resets no connection that has just been established.

    A balancer does not repeat a request that it has sent, so its client would get an error.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept what is established, stop to listen, answer what arrives in `LAST_S`, then close."""
        refuse_new(sockets or ())
        await asyncio.sleep(ACCEPT_S)
        for server in self.servers:
            server.close()
        deadline = asyncio.get_running_loop().time() + LAST_S
        while self.server_state.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(ACCEPT_S)
        await super().shutdown(sockets)


def refuse_new(listening: Sequence[socket.socket]) -> None:
    """Let no more connections be established; those that wait can still be accepted.

    Clients try again after a second, when nothing listens any more. To close a socket at once would reset
    the connections that wait. Where the kernel has no such filters, they are reset.
    """
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in NO_SYN)
    buffer = ctypes.create_string_buffer(program, len(program))
    for each in listening:
        with contextlib.suppress(OSError):
            each.setsockopt(
                socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(NO_SYN), ctypes.addressof(buffer))
            )
