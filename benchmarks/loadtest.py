"""A load test with a report: `python -m benchmarks.loadtest [--url URL] [--users N] [--time 30s]`.

Without a URL it starts a server on a free port with a temporary session store, and stops it afterwards.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.process import free_port, start

HERE = Path(__file__).parent


@click.command()
@click.option("--url", help="server under test; default: one started for the test")
@click.option("--users", default=50, show_default=True, help="concurrent users")
@click.option("--spawn-rate", default=20, show_default=True, help="users started per second")
@click.option("--time", "run_time", default="30s", show_default=True, help="duration, such as 90s or 5m")
@click.option("--out", type=click.Path(path_type=Path), default=HERE / "out", show_default=True)
def main(url: str | None, users: int, spawn_rate: int, run_time: str, out: Path) -> None:
    """Run the users of locustfile.py headless, and write loadtest.html and loadtest_stats.csv."""
    out.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "locust", "--headless", "-f", str(HERE / "locustfile.py"), "--only-summary",
        "--users", str(users), "--spawn-rate", str(spawn_rate), "--run-time", run_time,
        "--html", str(out / "loadtest.html"), "--csv", str(out / "loadtest"),
    ]  # fmt: skip
    status = run(command, url, out) if url else run_with_server(command, out)
    click.echo(f"report: {out / 'loadtest.html'}")
    sys.exit(status)


def run(command: list[str], url: str, out: Path) -> int:
    """Run Locust against a server; its exit status is not 0 if a request failed."""
    click.echo(f"loading {url}; the report goes to {out}")
    return subprocess.run([*command, "--host", url], check=False).returncode


def run_with_server(command: list[str], out: Path) -> int:
    """Run Locust against a server started for the test."""
    with tempfile.TemporaryDirectory() as sessions:
        port = free_port()
        serve = [sys.executable, "-m", "service", "serve", "--port", str(port)]
        env = {"CELLGATE_SESSIONS_DIR": sessions}
        server = start(serve, env, port=port, ready="/health/ready", log=out / "loadtest-server.log")
        try:
            return run(command, f"http://127.0.0.1:{port}", out)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
