"""What a fake server does to a request instead of answering it."""

from enum import Enum


class Fault(Enum):
    """One fault of the network or of a server."""

    LOSE_REQUEST = "the connection breaks before the server has the request"
    LOSE_REPLY = "the request is applied, and the connection breaks before the reply"
    TRUNCATE_REPLY = "the request is applied, and the connection breaks within the reply"
    DUPLICATE = "the request arrives twice; the second reply is delivered"
    OVERLOADED = "503 with Retry-After; nothing is applied"
    REPLICA_LOST = "502 of a proxy, after the request is applied"
    DEADLINE = "504; nothing is applied"
