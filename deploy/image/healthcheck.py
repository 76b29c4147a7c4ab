"""HEALTHCHECK of the image: exit status 0 if /health/ready answers 200; otherwise print why, and 1."""

import http.client
import os
import sys


def problem(host: str, port: int, timeout_s: float) -> str:
    """Why the server at `host`:`port` is not ready; empty if it is."""
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
    """Check the server in this container; a wildcard address is reached on loopback."""
    host = os.environ.get("CELLGATE_HOST", "")
    loopback = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
    reason = problem(loopback.get(host, host), int(os.environ.get("CELLGATE_PORT", "8000")), timeout_s=3)
    sys.stdout.write(f"{reason or 'ready'}\n")
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
