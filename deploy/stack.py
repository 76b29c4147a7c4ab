"""One run of docker-compose.yml under a project name of its own, and the output of its tests.

It knows Docker's command line and `POST /predict`; it does not know what is tested.
"""

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
# Variables with the path of CA certificates that pip must trust; the build gets the first one that is set.
CA_VARIABLES = ("BUILD_CA", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
# Variables that are not inherited: the test sets them or tests their defaults. Base images are inherited.
NOT_INHERITED = ("CELLGATE_", "SERVER_", "CLUSTER_", "LOADTEST_", "REDIS_MEMORY", "COMPOSE_")


class Failure(Exception):
    """A requirement that does not hold."""


def require(holds: bool, failure: str) -> None:
    """Raise Failure with that text unless `holds`."""
    if not holds:
        raise Failure(failure)


def docker(*arguments: str, environment: dict[str, str] | None = None, show: bool = False) -> str:
    """Run the Docker client and return its output; with `show`, print it instead. Raises Failure."""
    pipe = None if show else subprocess.PIPE
    command = ["docker", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    )
    require(done.returncode == 0, f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr or ''}")
    return (done.stdout or "").strip()


def free_port() -> int:
    """A TCP port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Stack:
    """One run of docker-compose.yml, with `variables` in its environment."""

    project: str
    image: str
    url: str
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of docker-compose.yml, without server settings: the defaults are tested."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
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
        """`docker inspect` of a service's container."""
        container: dict[str, Any] = json.loads(docker("inspect", self.container(service)))[0]
        return container

    def crash(self, service: str) -> None:
        """Kill every process of a service's container with SIGKILL."""
        docker("kill", "--signal", "KILL", self.container(service))
        require(self.inspect(service)["State"]["ExitCode"] == 137, "the container outlived SIGKILL")

    def post(self, sequence: dict[str, Any]) -> httpx.Response:
        """Post one sequence."""
        return httpx.post(f"{self.url}/predict", json={"sequences": [sequence]}, timeout=60, trust_env=False)

    def predict(self, sequence: dict[str, Any]) -> dict[str, Any]:
        """The prediction for one sequence. Raises Failure unless there is one."""
        reply = self.post(sequence)
        require(reply.status_code == 200, f"/predict answered {reply.status_code}: {reply.text}")
        prediction: dict[str, Any] = reply.json()["predictions"][0]
        return prediction

    def show_logs(self) -> None:
        """Print the containers' logs and the results of their health checks."""
        for arguments in (("logs", "--no-color", "--tail", "200"), ("ps", "--all")):
            click.echo(self.compose(*arguments), err=True)
        for container in self.compose("ps", "--all", "--quiet").split():
            state = json.loads(docker("inspect", container))[0]["State"]
            click.echo(json.dumps(state, indent=1), err=True)

    def remove(self, *, image: bool) -> None:
        """Delete containers, networks and volumes; with `image`, the image too."""
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")
        if image:
            docker("image", "rm", "--force", self.image)


def bits(prediction: dict[str, Any]) -> bytes:
    """The output's numbers as bytes, to compare them exactly."""
    return array("d", prediction["output"]).tobytes()


def check_engine() -> str:
    """Versions of the Docker engine and compose. Raises ClickException without them."""
    try:
        return f"{docker('version', '--format', '{{.Server.Version}}')}, {docker('compose', 'version')}"
    except (Failure, OSError) as error:
        raise click.ClickException(
            f"no Docker engine with compose is reachable.\n{error}"
            "Start one, or as root on Debian: `.ci/engine up DIR && . DIR/env.sh` runs a private one."
        ) from error


@contextmanager
def step(title: str) -> Iterator[list[str]]:
    """Print the title, then the time taken and the results that the block appends."""
    click.echo(f"· {title} …")
    begin = time.monotonic()
    results: list[str] = []
    yield results
    click.echo(f"  ok {time.monotonic() - begin:5.1f} s  {'; '.join(results)}")
