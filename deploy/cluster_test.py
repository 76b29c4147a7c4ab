"""Bring up compose's profile `cluster`, kill its containers under running sessions, and miss not one step.

    python -m deploy.cluster_test                                      # the second half of make docker-test
    python -m deploy.cluster_test --image cellgate:latest --no-build

What runs: nginx, three servers, Redis, and at the end the profile `loadtest` against them. Everything has a
name of its own and is removed at the end. Knows nothing of how the server works, only what docs/deployment.md
says.
"""

import itertools
import json
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import httpx

from deploy.stack import ROOT, Failure, Stack, bits, check_engine, docker, free_port, require, step

REPLICAS = ("replica-1", "replica-2", "replica-3")
SERVICES = (*REPLICAS, "nginx", "redis")
USERS = {"nginx": "101:101", "redis": "999:999"} | dict.fromkeys(REPLICAS, "10001:10001")
PIECE = 3  # steps in one request
CLIENTS = 4
PATIENCE_S = 60.0
LOADTEST = ("--users", "10", "--run-time", "5s")


def pieces(steps: list[Any]) -> Iterator[tuple[int, list[Any]]]:
    """The sequence, cut up; each piece with the step it begins at."""
    for at in range(0, len(steps), PIECE):
        yield at, steps[at : at + PIECE]


def insist(stack: Stack, sequence: dict[str, Any]) -> dict[str, Any]:
    """The prediction, asked for again, and the same, while somebody is missing who should answer."""
    deadline = time.monotonic() + PATIENCE_S
    while (reply := stack.post(sequence)).status_code in (502, 503):
        require(
            time.monotonic() < deadline, f"still {reply.status_code} after {PATIENCE_S:g} s: {reply.text}"
        )
        time.sleep(0.1)
    require(reply.status_code == 200, f"/predict answered {reply.status_code}: {reply.text}")
    prediction: dict[str, Any] = reply.json()["predictions"][0]
    return prediction


def converse(stack: Stack, session: str, steps: list[Any], due: bytes, *, since: int = 0) -> None:
    """Send a sequence from piece `since` on. Raises Failure unless the end has the bits of `due`."""
    for at, piece in itertools.islice(pieces(steps), since, None):
        prediction = insist(stack, {"steps": piece, "session": session, "at": at})
        require(prediction["step"] == at + len(piece), f"{session} is at step {prediction['step']}")
    require(bits(prediction) == due, f"{session} ends with other bits than one shot: {prediction}")


def check_confined(stack: Stack) -> str:
    """Nobody is root, writes to the root, holds a capability, or may take all of the machine."""
    for service in SERVICES:
        found = stack.inspect(service)
        limits, user = found["HostConfig"], found["Config"]["User"]
        require(user == USERS[service], f"{service} runs as {user!r}")
        require(
            limits["ReadonlyRootfs"] and limits["CapDrop"] == ["ALL"], f"{service} has rights it needs not"
        )
        require(
            limits["Memory"] > 0 and limits["NanoCpus"] > 0 and limits["PidsLimit"] > 0,
            f"{service}: no limit",
        )
    published = [service for service in SERVICES if stack.inspect(service)["HostConfig"]["PortBindings"]]
    require(published == ["nginx"], f"published: {published}")
    return "five services, no root, read-only, no capability, limited; only nginx is published"


def shares(stack: Stack) -> Counter[str]:
    """How many predictions each replica answered, by nginx's log."""
    lines = docker("logs", stack.container("nginx")).splitlines()
    requests = [json.loads(line) for line in lines if line.startswith("{")]
    return Counter(line["replica"] for line in requests if line["path"] == "/predict")


def check_round_robin(stack: Stack, steps: list[Any]) -> str:
    """Every replica answers its share of requests, with the same bits."""
    each = 4
    num_requests = each * len(REPLICAS)
    outputs = {bits(stack.predict({"steps": steps})) for _ in range(num_requests)}
    require(len(outputs) == 1, "replicas answer with different bits")
    deadline = time.monotonic() + PATIENCE_S
    while (found := shares(stack)).total() < num_requests:  # logs come later
        require(time.monotonic() < deadline, f"nginx logged {found.total()} of {num_requests} requests")
    is_even = all(abs(count - each) <= 1 for count in found.values())  # health checks take turns, too
    require(len(found) == len(REPLICAS) and is_even, f"requests per replica: {dict(found)}")
    return ", ".join(f"{replica}: {count}" for replica, count in sorted(found.items()))


def check_kills(stack: Stack, steps: list[Any]) -> str:
    """Each replica in turn, then Redis, dies under sessions that go on, and comes back."""
    due = bits(stack.predict({"steps": steps}))
    over = threading.Event()

    def talk(number: int) -> int:
        for turn in itertools.count(1):
            converse(stack, f"talk-{number}-{turn}", steps, due)
            if over.is_set():
                return turn
        raise AssertionError

    with ThreadPoolExecutor(CLIENTS) as pool:
        talks = [pool.submit(talk, number) for number in range(CLIENTS)]
        try:
            for service in (*REPLICAS, "redis"):
                stack.crash(service)
                stack.up(service)
        finally:
            over.set()
        turns = sum(talk.result() for talk in talks)
    return (
        f"{turns} sequences in pieces while {', '.join(REPLICAS)} and redis were killed: bit for bit one shot"
    )


def check_return(stack: Stack, steps: list[Any]) -> str:
    """A session outlives all containers at once, Redis among them, and new ones take their places."""
    due = bits(stack.predict({"steps": steps}))
    at, piece = next(pieces(steps))
    first = insist(stack, {"steps": piece, "session": "returns", "at": at})
    for service in (*REPLICAS, "redis"):
        stack.crash(service)
    stack.compose("rm", "--force", *REPLICAS, "redis")
    stack.up("nginx")
    again = insist(stack, {"steps": piece, "session": "returns", "at": at})
    require(again == first, f"the first piece, sent again: {again}, not {first}")
    converse(stack, "returns", steps, due, since=1)
    return "new containers, same volume: the stored reply, then the next steps, bit for bit"


def check_loadtest(stack: Stack, folder: Path, *, build: bool) -> str:
    """The profile `loadtest` finds no failure and leaves its report."""
    if build:
        stack.compose("build", "loadtest", show=True)
    stack.compose("run", "--rm", "--no-deps", "loadtest", "--host", "http://nginx:8080", *LOADTEST)
    stats = (folder / "loadtest_stats.csv").read_text().splitlines()[-1].split(",")
    size_kb = (folder / "loadtest.html").stat().st_size / 1000
    return f"{stats[2]} requests, {stats[3]} failed; a report of {size_kb:.0f} kB"


def check_stop(stack: Stack) -> str:
    """Everybody ends by itself."""
    stack.compose("--profile", "cluster", "stop")
    for service in SERVICES:
        status = stack.inspect(service)["State"]["ExitCode"]
        require(status == 0, f"{service}: exit status {status}")
    return "exit status 0, all of them"


def run(stack: Stack, steps: list[Any], reports: Path, *, build: bool) -> None:
    """Every step in turn. Raises Failure at the first promise that does not hold."""
    if build:
        with step(f"build {stack.image}"):
            stack.compose("build", "replica-1", show=True)
    with step("start the cluster, and wait until it is healthy") as found:
        stack.up("nginx")
        found.append(stack.url)
    with step("look at the containers") as found:
        found.append(check_confined(stack))
    with step("predict again and again") as found:
        found.append(check_round_robin(stack, steps))
    with step("kill one container after the other under running sessions") as found:
        found.append(check_kills(stack, steps))
    with step("kill and replace all of them") as found:
        found.append(check_return(stack, steps))
    with step("load it") as found:
        found.append(check_loadtest(stack, reports, build=build))
    with step("stop") as found:
        found.append(check_stop(stack))


@click.command(help=__doc__.split("\n")[0], context_settings={"show_default": True})
@click.option("--model", type=Path, default=ROOT / "models/vowels/1", help="The model whose example is sent.")
@click.option(
    "--image", default=None, help="The server's image.  [default: one of its own, removed at the end]"
)
@click.option("--build/--no-build", default=True, help="Build the images first.")
def main(model: Path, image: str | None, build: bool) -> None:
    """Run, report, and leave nothing behind."""
    click.echo(f"docker {check_engine()}")
    project = f"cellgate-cluster-{os.getpid()}"
    publish = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory() as reports:
        variables = {
            "CLUSTER_PUBLISH": publish,
            "CLUSTER_SUBNET": f"10.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}",
            "LOADTEST_REPORT": reports,
            "LOADTEST_IMAGE": f"{project}-loadtest:latest",
            "LOADTEST_USER": f"{os.getuid()}:{os.getgid()}",
        }
        stack = Stack(project, image or f"{project}:latest", f"http://{publish}", variables)
        steps = json.loads((model / "model.json").read_bytes())["example"]["steps"]
        try:
            run(stack, steps, Path(reports), build=build)
        except (Failure, httpx.HTTPError) as error:
            stack.show_logs()
            raise click.ClickException(f"cluster-test: {error}") from error
        finally:
            stack.remove(image=image is None)
            docker("image", "rm", "--force", variables["LOADTEST_IMAGE"])
    click.echo("cluster-test: passed")


if __name__ == "__main__":
    main()
