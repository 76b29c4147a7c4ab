"""Start compose's profile `cluster`, kill its containers under running sessions, and check every step.

    python -m deploy.cluster_test                                      # the second half of make docker-test
    python -m deploy.cluster_test --image cellgate:latest --no-build

It runs nginx, three servers and Redis, and at the end the profile `loadtest` against them, in a new compose
project that is removed afterwards. It knows nothing of how the server works, only what docs/deployment.md
promises.
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
RETRY_S = 60.0
LOADTEST = ("--users", "10", "--run-time", "5s")


def pieces(steps: list[Any]) -> Iterator[tuple[int, list[Any]]]:
    """The sequence in pieces, each with the step that it begins at."""
    for at in range(0, len(steps), PIECE):
        yield at, steps[at : at + PIECE]


def predict_with_retries(stack: Stack, sequence: dict[str, Any]) -> dict[str, Any]:
    """The prediction; the same request is retried while the answer is 502 or 503."""
    deadline = time.monotonic() + RETRY_S
    while (reply := stack.post(sequence)).status_code in (502, 503):
        require(time.monotonic() < deadline, f"still {reply.status_code} after {RETRY_S:g} s: {reply.text}")
        time.sleep(0.1)
    require(reply.status_code == 200, f"/predict answered {reply.status_code}: {reply.text}")
    prediction: dict[str, Any] = reply.json()["predictions"][0]
    return prediction


def send_in_pieces(stack: Stack, session: str, steps: list[Any], expected: bytes, *, since: int = 0) -> None:
    """Send a sequence from piece `since` on. Raises Failure unless the last output equals `expected`."""
    for at, piece in itertools.islice(pieces(steps), since, None):
        prediction = predict_with_retries(stack, {"steps": piece, "session": session, "at": at})
        require(prediction["step"] == at + len(piece), f"{session} is at step {prediction['step']}")
    require(bits(prediction) == expected, f"{session}: other bits than in one request: {prediction}")


def check_confined(stack: Stack) -> str:
    """No service runs as root, writes to its root file system, has a capability or lacks a limit."""
    for service in SERVICES:
        container = stack.inspect(service)
        limits, user = container["HostConfig"], container["Config"]["User"]
        require(user == USERS[service], f"{service} runs as {user!r}")
        require(
            limits["ReadonlyRootfs"] and limits["CapDrop"] == ["ALL"],
            f"{service} has a writable root or a capability",
        )
        require(
            limits["Memory"] > 0 and limits["NanoCpus"] > 0 and limits["PidsLimit"] > 0,
            f"{service}: no limit",
        )
    published = [service for service in SERVICES if stack.inspect(service)["HostConfig"]["PortBindings"]]
    require(published == ["nginx"], f"published: {published}")
    return "five services without root, read-only, without capabilities, limited; only nginx is published"


def shares(stack: Stack) -> Counter[str]:
    """How many predictions each replica answered, according to nginx's log."""
    lines = docker("logs", stack.container("nginx")).splitlines()
    requests = [json.loads(line) for line in lines if line.startswith("{")]
    return Counter(line["replica"] for line in requests if line["path"] == "/predict")


def check_round_robin(stack: Stack, steps: list[Any]) -> str:
    """Every replica answers an equal share of requests, with the same bits."""
    each = 4
    num_requests = each * len(REPLICAS)
    outputs = {bits(stack.predict({"steps": steps})) for _ in range(num_requests)}
    require(len(outputs) == 1, "replicas answer with different bits")
    deadline = time.monotonic() + RETRY_S
    while (counts := shares(stack)).total() < num_requests:  # the log follows the answer
        require(time.monotonic() < deadline, f"nginx logged {counts.total()} of {num_requests} requests")
    is_even = all(abs(count - each) <= 1 for count in counts.values())  # health checks take turns, too
    require(len(counts) == len(REPLICAS) and is_even, f"requests per replica: {dict(counts)}")
    return ", ".join(f"{replica}: {count}" for replica, count in sorted(counts.items()))


def check_kills(stack: Stack, steps: list[Any]) -> str:
    """Each replica in turn, then Redis, is killed while sessions continue, and started again."""
    expected = bits(stack.predict({"steps": steps}))
    is_over = threading.Event()

    def talk(number: int) -> int:
        for turn in itertools.count(1):
            send_in_pieces(stack, f"talk-{number}-{turn}", steps, expected)
            if is_over.is_set():
                return turn
        raise AssertionError

    with ThreadPoolExecutor(CLIENTS) as pool:
        talks = [pool.submit(talk, number) for number in range(CLIENTS)]
        try:
            for service in (*REPLICAS, "redis"):
                stack.crash(service)
                stack.up(service)
        finally:
            is_over.set()
        turns = sum(talk.result() for talk in talks)
    killed = ", ".join((*REPLICAS, "redis"))
    return f"{turns} sequences in pieces, same bits as in one request; killed meanwhile: {killed}"


def check_return(stack: Stack, steps: list[Any]) -> str:
    """A session survives when all containers, Redis included, are killed and replaced at once."""
    expected = bits(stack.predict({"steps": steps}))
    at, piece = next(pieces(steps))
    first = predict_with_retries(stack, {"steps": piece, "session": "survivor", "at": at})
    for service in (*REPLICAS, "redis"):
        stack.crash(service)
    stack.compose("rm", "--force", *REPLICAS, "redis")
    stack.up("nginx")
    again = predict_with_retries(stack, {"steps": piece, "session": "survivor", "at": at})
    require(again == first, f"the first piece, retried: {again}, not {first}")
    send_in_pieces(stack, "survivor", steps, expected, since=1)
    return "new containers, same volume: the stored reply, then the next steps, same bits as in one request"


def check_loadtest(stack: Stack, folder: Path, *, build: bool) -> str:
    """The profile `loadtest` reports no failure and writes its report."""
    if build:
        stack.compose("build", "loadtest", show=True)
    stack.compose("run", "--rm", "--no-deps", "loadtest", "--host", "http://nginx:8080", *LOADTEST)
    stats = (folder / "loadtest_stats.csv").read_text().splitlines()[-1].split(",")
    size_kb = (folder / "loadtest.html").stat().st_size / 1000
    return f"{stats[2]} requests, {stats[3]} failed; report of {size_kb:.0f} kB"


def check_stop(stack: Stack) -> str:
    """Every service exits by itself."""
    stack.compose("--profile", "cluster", "stop")
    for service in SERVICES:
        status = stack.inspect(service)["State"]["ExitCode"]
        require(status == 0, f"{service}: exit status {status}")
    return "exit status 0 of every service"


def run(stack: Stack, steps: list[Any], reports: Path, *, build: bool) -> None:
    """Every step in turn. Raises Failure at the first requirement that does not hold."""
    if build:
        with step(f"build {stack.image}"):
            stack.compose("build", "replica-1", show=True)
    with step("start the cluster, and wait until it is healthy") as results:
        stack.up("nginx")
        results.append(stack.url)
    with step("check the containers") as results:
        results.append(check_confined(stack))
    with step("predict repeatedly") as results:
        results.append(check_round_robin(stack, steps))
    with step("kill one container after another under running sessions") as results:
        results.append(check_kills(stack, steps))
    with step("kill and replace all of them") as results:
        results.append(check_return(stack, steps))
    with step("run the load test") as results:
        results.append(check_loadtest(stack, reports, build=build))
    with step("stop") as results:
        results.append(check_stop(stack))


@click.command(help=__doc__.split("\n")[0], context_settings={"show_default": True})
@click.option("--model", type=Path, default=ROOT / "models/vowels/1", help="Model whose example is sent.")
@click.option("--image", default=None, help="Image of the server.  [default: a new one, removed at the end]")
@click.option("--build/--no-build", default=True, help="Build the images first.")
def main(model: Path, image: str | None, build: bool) -> None:
    """Run the test, print the results, and remove everything it created."""
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
