"""A run of docker-compose.yml under names of its own, and how its tests report. Docker's client, no more."""

import json
import os
import socket
import subprocess
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import httpx

ROOT = Path(__file__).resolve().parents[1]
# Where a machine keeps the CA certificates that pip must trust; the first one set is offered to the build.
CA_VARIABLES = ("BUILD_CA", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
# What compose reads and this test sets or leaves at its default; base images may be chosen from outside.
OURS = ("CELLGATE_", "SERVER_", "CLUSTER_", "LOADTEST_", "REDIS_MEMORY", "COMPOSE_")


class Failure(Exception):
    """A promise that does not hold."""


def require(holds: bool, promise: str) -> None:
    """Raise Failure unless `promise` holds."""
    if not holds:
        raise Failure(promise)


def docker(*arguments: str, environment: dict[str, str] | None = None, show: bool = False) -> str:
    """Run the Docker client and return what it printed; with `show` it prints itself. Raises Failure."""
    pipe = None if show else subprocess.PIPE
    command = ["docker", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    )
    require(done.returncode == 0, f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr or ''}")
    return (done.stdout or "").strip()


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Stack:
    """One run of docker-compose.yml. `variables` are those of the shell that it reads."""

    project: str
    image: str
    url: str
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What docker-compose.yml reads. No setting of the server is passed on: the defaults are tested."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        ca = next((os.environ[name] for name in CA_VARIABLES if os.environ.get(name)), "/dev/null")
        return inherited | {"SERVER_IMAGE": self.image, "BUILD_CA": ca} | self.variables

    def compose(self, *arguments: str, show: bool = False) -> str:
        """Run `docker compose` on this project."""
        project = ("compose", "--project-name", self.project)
        return docker(*project, *arguments, environment=self.environment, show=show)

    def up(self, *options: str) -> None:
        """Start, and wait until the health checks pass."""
        self.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "120", *options)

    def container(self, service: str) -> str:
        """The id of a service's container, running or not."""
        return self.compose("ps", "--all", "--quiet", service)

    def inspect(self, service: str) -> dict[str, Any]:
        """All that the engine knows of a service's container."""
        found: dict[str, Any] = json.loads(docker("inspect", self.container(service)))[0]
        return found

    def crash(self, service: str) -> None:
        """End every process of it at once; nobody gets to tidy up."""
        docker("kill", "--signal", "KILL", self.container(service))
        require(self.inspect(service)["State"]["ExitCode"] == 137, "the container outlived SIGKILL")

    def post(self, sequence: dict[str, Any]) -> httpx.Response:
        """The answer to one sequence."""
        return httpx.post(f"{self.url}/predict", json={"sequences": [sequence]}, timeout=60, trust_env=False)

    def predict(self, sequence: dict[str, Any]) -> dict[str, Any]:
        """The prediction for one sequence. Raises Failure unless there is one."""
        reply = self.post(sequence)
        require(reply.status_code == 200, f"/predict answered {reply.status_code}: {reply.text}")
        prediction: dict[str, Any] = reply.json()["predictions"][0]
        return prediction

    def show_logs(self) -> None:
        """What the containers said, and what the health checks saw."""
        for arguments in (("logs", "--no-color", "--tail", "200"), ("ps", "--all")):
            click.echo(self.compose(*arguments), err=True)
        for container in self.compose("ps", "--all", "--quiet").split():
            state = json.loads(docker("inspect", container))[0]["State"]
            click.echo(json.dumps(state, indent=1), err=True)

    def remove(self, *, image: bool) -> None:
        """Delete containers, networks and volumes, and the image where this run built it."""
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")
        if image:
            docker("image", "rm", "--force", self.image)


def bits(prediction: dict[str, Any]) -> bytes:
    """The output's numbers as they lie in memory."""
    return array("d", prediction["output"]).tobytes()


def check_engine() -> str:
    """An engine and compose answer."""
    try:
        return f"{docker('version', '--format', '{{.Server.Version}}')}, {docker('compose', 'version')}"
    except (Failure, OSError) as error:
        raise click.ClickException(
            f"no Docker engine with compose is reachable.\n{error}"
            "Start one, or as root on Debian: `.ci/engine up DIR && . DIR/env.sh` runs a private one."
        ) from error


@contextmanager
def step(title: str) -> Iterator[list[str]]:
    """Say what is being done, and afterwards what was found and how long it took."""
    click.echo(f"· {title} …")
    begin = time.monotonic()
    found: list[str] = []
    yield found
    click.echo(f"  ok {time.monotonic() - begin:5.1f} s  {'; '.join(found)}")
