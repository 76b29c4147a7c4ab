"""Build the image, run it with docker-compose.yml, kill it within a sequence, and resume the session.

    python -m deploy.docker_test                                      # make docker-test
    python -m deploy.docker_test --image cellgate:latest --no-build

The compose project, image, volume and port are its own and are removed at the end. Needs a Docker engine
with compose. It knows nothing of how the server works, only what docs/docker.md promises.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import click
import httpx

from deploy.stack import ROOT, Failure, Stack, bits, check_engine, docker, free_port, require, step

SERVICE = "cellgate"
STOP_LIMIT_S = 10.0  # the default of `docker stop`
# The expected report of deploy/image/inside.py.
INSIDE = {
    "user": 10001,
    "capabilities": 0,
    "can gain privileges": False,
    "writable": ["/data", "/tmp"],
    "unwanted modules": [],
    "shells": [],
}


def check_image(stack: Stack, largest_mb: int) -> str:
    """The image is small, declares a numeric user and a health check, and starts without a shell."""
    image = json.loads(docker("image", "inspect", stack.image))[0]
    config, size_mb = image["Config"], image["Size"] / 1e6
    require(size_mb <= largest_mb, f"the image has {size_mb:.0f} MB, more than {largest_mb} MB")
    user = config["User"].partition(":")[0]
    require(user.isdigit() and user != "0", f"the image's user is {user!r}")
    require(config["Healthcheck"]["Test"][0] == "CMD", "HEALTHCHECK needs a shell")
    require("/bin/sh" not in config["Entrypoint"], "ENTRYPOINT starts a shell")
    return f"{size_mb:.0f} MB for {image['Os']}/{image['Architecture']}"


def check_inside(stack: Stack) -> str:
    """The server's process has only the rights that it needs, and the image no programs to misuse them."""
    script = (ROOT / "deploy/image/inside.py").read_text()
    inside = json.loads(docker("exec", stack.container(SERVICE), "python", "-c", script))
    require(inside == INSIDE, f"inside the container: {inside}, not {INSIDE}")
    limits = stack.inspect(SERVICE)["HostConfig"]
    require(limits["Memory"] > 0 and limits["NanoCpus"] > 0 and limits["PidsLimit"] > 0, "limits are missing")
    return "no capability, read-only root, no shell, no torch; memory, CPUs and processes limited"


def check_one_shot(stack: Stack, example: dict[str, Any]) -> dict[str, Any]:
    """The example of model.json gets the answer that model.json states. Returns the prediction."""
    prediction = stack.predict({"steps": example["steps"]})
    label = prediction.get("label")
    require(label == example["label"], f"label {label!r}, not {example['label']!r}")
    worst = max(
        abs(value - expected) for value, expected in zip(prediction["output"], example["output"], strict=True)
    )
    require(worst <= example["tolerance"], f"the output is off by {worst}")
    return prediction


def check_session(stack: Stack, steps: list[Any], one_shot: dict[str, Any]) -> str:
    """Three pieces, a crash after each, in the same container and a new one: same bits as in one request."""
    first, second, end = len(steps) // 3, 2 * len(steps) // 3, len(steps)

    def send(start: int, stop: int) -> dict[str, Any]:
        prediction = stack.predict({"steps": steps[start:stop], "session": "utterance", "at": start})
        require(prediction["step"] == stop, f"the session is at step {prediction['step']}, not {stop}")
        return prediction

    send(0, first)
    stack.crash(SERVICE)
    stack.up(SERVICE)
    send(first, second)
    stack.crash(SERVICE)
    stack.up("--force-recreate", SERVICE)
    last = send(second, end)
    require(
        bits(last) == bits(one_shot), f"in pieces: {last['output']}, in one request: {one_shot['output']}"
    )
    stack.crash(SERVICE)
    stack.up(SERVICE)
    require(send(second, end) == last, "the last request, retried after a crash, got another answer")
    pieces = f"0-{first}, {first}-{second}, {second}-{end}"
    return f"steps {pieces}, the last piece twice: same bits as in one request"


def check_stop(stack: Stack) -> str:
    """The server exits on SIGTERM, in time."""
    begin = time.monotonic()
    docker("stop", stack.container(SERVICE))
    elapsed_s = time.monotonic() - begin
    state = stack.inspect(SERVICE)["State"]
    require(state["ExitCode"] == 0, f"exit status {state['ExitCode']} on SIGTERM")
    require(elapsed_s < STOP_LIMIT_S, f"it took {elapsed_s:.1f} s to stop")
    return "exit status 0"


def run(stack: Stack, example: dict[str, Any], *, build: bool, largest_mb: int) -> None:
    """Every step in turn. Raises Failure at the first requirement that does not hold."""
    if build:
        with step(f"build {stack.image}"):
            stack.compose("build", SERVICE, show=True)
    with step("check the image") as results:
        results.append(check_image(stack, largest_mb))
    with step("start, and wait until it is healthy") as results:
        stack.up(SERVICE)
        results.append(stack.url)
    with step("check the process inside the container") as results:
        results.append(check_inside(stack))
    with step("predict the example of model.json") as results:
        one_shot = check_one_shot(stack, example)
        results.append(f"label {one_shot.get('label')}, probability {one_shot.get('probability')}")
    with step("send it in pieces through a session, killing the server between them") as results:
        results.append(check_session(stack, example["steps"], one_shot))
    with step("stop") as results:
        results.append(check_stop(stack))


@click.command(help=__doc__.split("\n")[0], context_settings={"show_default": True})
@click.option("--model", type=Path, default=ROOT / "models/vowels/1", help="Model whose example is sent.")
@click.option("--image", default=None, help="Name of the image.  [default: a new one, removed at the end]")
@click.option("--build/--no-build", default=True, help="Build the image first.")
@click.option("--largest-mb", default=150, help="Maximum size of the image, in MB (10^6 bytes).")
def main(model: Path, image: str | None, build: bool, largest_mb: int) -> None:
    """Run the test, print the results, and remove everything it created."""
    click.echo(f"docker {check_engine()}")
    project = f"cellgate-test-{os.getpid()}"
    publish = f"127.0.0.1:{free_port()}"
    stack = Stack(project, image or f"{project}:latest", f"http://{publish}", {"SERVER_PUBLISH": publish})
    example = json.loads((model / "model.json").read_bytes())["example"]
    try:
        run(stack, example, build=build, largest_mb=largest_mb)
    except (Failure, httpx.HTTPError) as error:
        stack.show_logs()
        raise click.ClickException(f"docker-test: {error}") from error
    finally:
        stack.remove(image=image is None)
    click.echo("docker-test: passed")


if __name__ == "__main__":
    main()
