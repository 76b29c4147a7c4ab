"""Build the image, run it as docker-compose.yml says, kill it in mid-sequence, and find the session again.

    python deploy/docker_test.py                                      # make docker-test
    python deploy/docker_test.py --image cellgate:latest --no-build

Everything has a name of its own (compose project, image, volume, free port) and is removed at the end.
Needs a Docker engine with compose. Knows nothing of how the server works, only what docs/docker.md promises.
"""

import json
import os
import socket
import subprocess
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx

ROOT = Path(__file__).resolve().parents[1]
SERVICE = "cellgate"
# Where a machine keeps the CA certificates that pip must trust; the first one set is offered to the build.
CA_VARIABLES = ("BUILD_CA", "PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
STOP_LIMIT_S = 10.0  # what `docker stop` grants by default
# What deploy/image/inside.py must find.
INSIDE = {
    "user": 10001,
    "capabilities": 0,
    "can gain privileges": False,
    "writable": ["/data", "/tmp"],
    "unwanted modules": [],
    "shells": [],
}


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
    """One run of docker-compose.yml under names of its own."""

    project: str
    image: str
    port: int

    @property
    def environment(self) -> dict[str, str]:
        """What docker-compose.yml reads. No setting of the server is passed on: the defaults are tested."""
        ours = ("CELLGATE_", "SERVER_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        ca = next((os.environ[name] for name in CA_VARIABLES if os.environ.get(name)), "/dev/null")
        publish = f"127.0.0.1:{self.port}"
        return inherited | {"SERVER_IMAGE": self.image, "SERVER_PUBLISH": publish, "BUILD_CA": ca}

    def compose(self, *arguments: str, show: bool = False) -> str:
        """Run `docker compose` on this project."""
        project = ("compose", "--project-name", self.project)
        return docker(*project, *arguments, environment=self.environment, show=show)

    def up(self, *options: str) -> None:
        """Start, and wait until the health check passes."""
        self.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "120", *options)

    def container(self) -> str:
        """The id of the server's container, running or not."""
        return self.compose("ps", "--all", "--quiet", SERVICE)

    def inspect(self) -> dict[str, Any]:
        """All that the engine knows of the container."""
        found: dict[str, Any] = json.loads(docker("inspect", self.container()))[0]
        return found

    def crash(self) -> None:
        """End every process at once; nobody gets to tidy up."""
        docker("kill", "--signal", "KILL", self.container())
        require(self.inspect()["State"]["ExitCode"] == 137, "the container outlived SIGKILL")

    def predict(self, sequence: dict[str, Any]) -> dict[str, Any]:
        """The prediction for one sequence."""
        address = f"http://127.0.0.1:{self.port}/predict"
        reply = httpx.post(address, json={"sequences": [sequence]}, timeout=30, trust_env=False)
        require(reply.status_code == 200, f"/predict answered {reply.status_code}: {reply.text}")
        prediction: dict[str, Any] = reply.json()["predictions"][0]
        return prediction

    def remove(self, *, image: bool) -> None:
        """Delete containers, network and volume, and the image where this run built it."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")
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


def check_image(stack: Stack, largest_mb: int) -> str:
    """The image is small, declares a numeric user and a health check, and starts without a shell."""
    image = json.loads(docker("image", "inspect", stack.image))[0]
    config, size_mb = image["Config"], image["Size"] / 1e6
    require(size_mb <= largest_mb, f"the image has {size_mb:.0f} MB, more than {largest_mb}")
    user = config["User"].partition(":")[0]
    require(user.isdigit() and user != "0", f"the image's user is {user!r}")
    require(config["Healthcheck"]["Test"][0] == "CMD", "HEALTHCHECK wants a shell")
    require("/bin/sh" not in config["Entrypoint"], "ENTRYPOINT hides the server behind a shell")
    return f"{size_mb:.0f} MB for {image['Os']}/{image['Architecture']}"


def check_inside(stack: Stack) -> str:
    """The process has no rights it does not need, and nothing to misuse them with."""
    script = (ROOT / "deploy/image/inside.py").read_text()
    inside = json.loads(docker("exec", stack.container(), "python", "-c", script))
    require(inside == INSIDE, f"inside the container: {inside}, not {INSIDE}")
    limits = stack.inspect()["HostConfig"]
    require(limits["Memory"] > 0 and limits["NanoCpus"] > 0 and limits["PidsLimit"] > 0, "limits are missing")
    return "no capability, read-only root, no shell, no torch; memory, processors and processes limited"


def check_one_shot(stack: Stack, example: dict[str, Any]) -> dict[str, Any]:
    """The example of model.json gets the answer that stands there. Returns the prediction."""
    prediction = stack.predict({"steps": example["steps"]})
    label = prediction.get("label")
    require(label == example["label"], f"label {label!r}, not {example['label']!r}")
    worst = max(abs(got - due) for got, due in zip(prediction["output"], example["output"], strict=True))
    require(worst <= example["tolerance"], f"the output is off by {worst}")
    return prediction


def check_session(stack: Stack, steps: list[Any], one_shot: dict[str, Any]) -> str:
    """Three pieces, a crash after each, then the same container or a new one: the one-shot's bits."""
    first, second, end = len(steps) // 3, 2 * len(steps) // 3, len(steps)

    def send(start: int, stop: int) -> dict[str, Any]:
        prediction = stack.predict({"steps": steps[start:stop], "session": "utterance", "at": start})
        require(prediction["step"] == stop, f"the session is at step {prediction['step']}, not {stop}")
        return prediction

    send(0, first)
    stack.crash()
    stack.up()
    send(first, second)
    stack.crash()
    stack.up("--force-recreate")
    last = send(second, end)
    require(bits(last) == bits(one_shot), f"pieces: {last['output']}, one shot: {one_shot['output']}")
    stack.crash()
    stack.up()
    require(send(second, end) == last, "the last request, sent again after a crash, got another answer")
    return (
        f"steps 0-{first}, {first}-{second}, {second}-{end}, the last one twice: bit for bit the one-shot's"
    )


def check_stop(stack: Stack) -> str:
    """SIGTERM reaches the server, which ends by itself and in time."""
    begin = time.monotonic()
    docker("stop", stack.container())
    elapsed_s = time.monotonic() - begin
    state = stack.inspect()["State"]
    require(state["ExitCode"] == 0, f"exit status {state['ExitCode']} on SIGTERM")
    require(elapsed_s < STOP_LIMIT_S, f"it took {elapsed_s:.1f} s to stop")
    return "exit status 0"


@contextmanager
def step(title: str) -> Iterator[list[str]]:
    """Say what is being done, and afterwards what was found and how long it took."""
    click.echo(f"· {title} …")
    begin = time.monotonic()
    found: list[str] = []
    yield found
    click.echo(f"  ok {time.monotonic() - begin:5.1f} s  {'; '.join(found)}")


def run(stack: Stack, example: dict[str, Any], *, build: bool, largest_mb: int) -> None:
    """Every step in turn. Raises Failure at the first promise that does not hold."""
    if build:
        with step(f"build {stack.image}"):
            stack.compose("build", SERVICE, show=True)
    with step("look at the image") as found:
        found.append(check_image(stack, largest_mb))
    with step("start, and wait until it is healthy") as found:
        stack.up()
        found.append(f"http://127.0.0.1:{stack.port}")
    with step("look inside") as found:
        found.append(check_inside(stack))
    with step("predict the example of model.json") as found:
        one_shot = check_one_shot(stack, example)
        found.append(f"label {one_shot.get('label')}, probability {one_shot.get('probability')}")
    with step("send it in pieces through a session, killing the server between them") as found:
        found.append(check_session(stack, example["steps"], one_shot))
    with step("stop") as found:
        found.append(check_stop(stack))


def show_logs(stack: Stack) -> None:
    """What the containers said, and what the health check saw."""
    for arguments in (("logs", "--no-color", "--tail", "200"), ("ps", "--all")):
        click.echo(stack.compose(*arguments), err=True)
    if stack.container():
        click.echo(json.dumps(stack.inspect()["State"], indent=1), err=True)


@click.command(help=__doc__.split("\n")[0], context_settings={"show_default": True})
@click.option("--model", type=Path, default=ROOT / "models/vowels/1", help="The model whose example is sent.")
@click.option(
    "--image", default=None, help="Name of the image.  [default: one of its own, removed at the end]"
)
@click.option("--build/--no-build", default=True, help="Build the image first.")
@click.option("--largest-mb", default=150, help="Largest size of the image that passes, in MB (10^6 bytes).")
def main(model: Path, image: str | None, build: bool, largest_mb: int) -> None:
    """Run, report, and leave nothing behind."""
    click.echo(f"docker {check_engine()}")
    project = f"cellgate-test-{os.getpid()}"
    stack = Stack(project=project, image=image or f"{project}:latest", port=free_port())
    example = json.loads((model / "model.json").read_bytes())["example"]
    try:
        run(stack, example, build=build, largest_mb=largest_mb)
    except (Failure, httpx.HTTPError) as error:
        show_logs(stack)
        raise click.ClickException(f"docker-test: {error}") from error
    finally:
        stack.remove(image=image is None)
    click.echo("docker-test: passed")


if __name__ == "__main__":
    main()
