"""Closed loop over Triton's gRPC streams: a session's next step when a reply is there. Prints one JSON line.

Runs in the peers' environment: `triton_stream_client.py '{"port": 8001, "streams": 16, …}'`, see `Load`.
Requests are serialized before, once a session: Triton's sequences have no step number.
"""

import asyncio
import json
import resource
import struct
import sys
import time
from dataclasses import dataclass
from typing import Any

import grpc
import uvloop
from tritonclient.grpc import service_pb2 as pb  # type: ignore[import-not-found]  # in the peers' environment

METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"


@dataclass(frozen=True)
class Load:
    """What is sent, and for how long."""

    port: int
    model: str
    streams: int
    sessions: int
    in_flight: int  # requests of a session without a reply
    seconds: float
    steps: list[list[float]]  # one for each session, in turn


@dataclass
class Figures:
    """Replies of the whole load; latencies from `begun` on."""

    latencies: list[float]
    begun: float = float("inf")
    ended: float = float("inf")
    replies: int = 0
    errors: int = 0


def request(load: Load, number: int, *, is_start: bool) -> bytes:
    """One step of a session, serialized."""
    step = load.steps[number % len(load.steps)]
    message = pb.ModelInferRequest(model_name=load.model, id=str(number))
    message.parameters["sequence_id"].int64_param = number + 1
    message.parameters["sequence_start"].bool_param = is_start
    message.parameters["sequence_end"].bool_param = False
    message.inputs.add(name="x", datatype="FP32", shape=[1, 1, len(step)])
    message.raw_input_contents.append(struct.pack(f"<{len(step)}f", *step))
    serialized: bytes = message.SerializeToString()
    return serialized


async def drive(load: Load, numbers: list[int], channel: Any, figures: Figures) -> None:
    """The sessions of one stream."""
    call = channel.stream_stream(METHOD, None, None)()
    started = {number: request(load, number, is_start=True) for number in numbers}
    following = {number: request(load, number, is_start=False) for number in numbers}
    sent: dict[int, list[float]] = {number: [] for number in numbers}
    for number in numbers:
        for place in range(load.in_flight):
            await call.write(following[number] if place else started[number])
            sent[number].append(time.perf_counter())
    while (received := await call.read()) is not grpc.aio.EOF:
        now = time.perf_counter()
        response = pb.ModelStreamInferResponse.FromString(received)
        figures.replies += 1
        if response.error_message:
            figures.errors += 1
            if figures.errors > 100:
                raise RuntimeError(response.error_message)
        number = int(response.infer_response.id or numbers[0])
        if figures.begun <= now < figures.ended:
            figures.latencies.append(now - sent[number].pop(0))
        else:
            sent[number].pop(0)
        if now < figures.ended:
            await call.write(following[number])
            sent[number].append(time.perf_counter())
        elif not any(sent.values()):  # a stream that is cancelled can crash Triton 2.51
            break
    await call.done_writing()


async def run(load: Load) -> dict[str, float]:
    """Send for a tenth of the time to warm up, then measure."""
    figures = Figures([])
    each = load.sessions // load.streams
    async with grpc.aio.insecure_channel(f"127.0.0.1:{load.port}") as channel:
        tasks = [
            asyncio.create_task(drive(load, list(range(first, first + each)), channel, figures))
            for first in range(0, load.sessions, each)
        ]
        await asyncio.sleep(load.seconds / 10)
        cpu = _cpu_s()
        figures.begun = time.perf_counter()
        figures.ended = figures.begun + load.seconds
        await asyncio.sleep(load.seconds)
        cpu = _cpu_s() - cpu
        await asyncio.wait(tasks, timeout=5)
        for task in tasks:
            task.cancel()
    latencies = sorted(figures.latencies) or [0.0]
    return {
        "requests_per_s": len(figures.latencies) / load.seconds,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1e3,
        "errors": figures.errors,
        "client_cpu_us": cpu / max(1, len(figures.latencies)) * 1e6,
        "replies": figures.replies,
    }


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(run(Load(**json.loads(sys.argv[1]))))) + "\n")
