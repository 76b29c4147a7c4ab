"""HEALTHCHECK of the image: exit 0 when /health/ready answers 200, else say why and exit 1. No curl."""

import http.client
import os
import sys


def problem(host: str, port: int, timeout_s: float) -> str:
    """What is wrong with the server at `host`:`port`; empty when it is ready."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        text = response.read(1000).decode(errors="replace")
        return "" if response.status == 200 else f"{response.status} {text}"
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()


def main() -> int:
    """Ask the server that runs in this container; a wildcard address is asked on loopback."""
    host = os.environ.get("CELLGATE_HOST", "")
    loopback = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
    found = problem(loopback.get(host, host), int(os.environ.get("CELLGATE_PORT", "8000")), timeout_s=3)
    sys.stdout.write(f"{found or 'ready'}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
