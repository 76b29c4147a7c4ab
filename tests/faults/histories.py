"""What clients do, and what they must see: each session's outputs are the one-shot run's, step by step.

A client follows one rule: while it has no answer, it asks again, with the same `at`, wherever it likes. Some
of its requests it sends thrice at the same time, some again when they are long past. All is held with `==`.
"""

import asyncio
import itertools
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

WIDTH = 12
TRY_AGAIN = {502, 503, 504}
PATIENCE_S = 90.0
Rows = list[list[float]]


class Violation(AssertionError):
    """A promise that did not hold."""


@dataclass
class Plan:
    """One session's life: rows, where they are cut, and which pieces are sent in which odd way."""

    name: str
    face: str  # "predict" or "v2"
    rows: Rows
    cuts: list[int]
    twice: set[int]  # pieces sent twice at once
    stale: set[int]  # pieces sent again once the next one is through
    ends: bool

    @classmethod
    def draw(cls, name: str, rng: random.Random) -> "Plan":
        """Anything may be drawn."""
        steps = rng.randint(2, 30)
        cuts = sorted(rng.sample(range(1, steps), rng.randint(1, min(6, steps - 1))))
        pieces = range(len(cuts) + 1)
        return cls(
            name=name,
            face=rng.choice(("predict", "predict", "v2")),
            rows=[[round(rng.gauss(0, 1), 3) for _ in range(WIDTH)] for _ in range(steps)],
            cuts=cuts,
            twice={piece for piece in pieces if rng.random() < 0.2},
            stale={piece for piece in pieces if rng.random() < 0.2},
            ends=rng.random() < 0.3,
        )

    @property
    def pieces(self) -> list[tuple[int, int]]:
        """Each from a step to a step."""
        edges = [0, *self.cuts, len(self.rows)]
        return list(itertools.pairwise(edges))


@dataclass
class Log:
    """What became of one session, as its client saw it: piece by piece, outputs and the step it was told."""

    plan: Plan
    outputs: list[list[list[float]]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    final_step: int | None = None  # None: the session is gone

    def check(self, one_shot: list[list[float]]) -> None:
        """Raises Violation unless every step was applied once, in order, with the one-shot's bits."""
        for (start, stop), output, step in zip(self.plan.pieces, self.outputs, self.steps, strict=True):
            if step != stop:
                raise Violation(f"{self.plan.name}: after the piece to {stop}, the session is at step {step}")
            if output != one_shot[start:stop]:
                raise Violation(f"{self.plan.name}: steps {start} to {stop} differ from the one-shot run")
        wanted = None if self.plan.ends else len(self.plan.rows)
        if self.final_step != wanted:
            raise Violation(f"{self.plan.name}: the session ended up at {self.final_step}, not at {wanted}")


class Client:
    """Drives one plan to its end, through whatever proxies there are."""

    def __init__(
        self, http: httpx.AsyncClient, urls: list[str], rng: random.Random, seen: Counter[str]
    ) -> None:
        self._http = http
        self._urls = urls
        self._rng = rng
        self._seen = seen

    async def live(self, plan: Plan) -> Log:
        """The whole life of one session."""
        log = Log(plan)
        for number, (start, stop) in enumerate(plan.pieces):
            ends = plan.ends and stop == len(plan.rows)
            body = _body(plan, start, stop, ends)
            copies = 3 if number in plan.twice else 1
            answers = await asyncio.gather(*(self._insist(plan, body) for _ in range(copies)))
            if any(answer != answers[0] for answer in answers):
                raise Violation(f"{plan.name}: the same request got different replies")
            output, step = _read(plan, answers[0])
            log.outputs.append(output)
            log.steps.append(step)
            if (
                number and number - 1 in plan.stale and not ends
            ):  # a name that is free again may be begun anew
                await self._expect_refusal(plan, number - 1, log)
        log.final_step = await self._final_step(plan)
        return log

    async def one_shot(self, url: str, plan: Plan) -> list[list[float]]:
        """Every step's output, from a server that nobody troubles."""
        reply = await self._http.post(f"{url}/predict", json={"sequences": [plan.rows], "return": "all"})
        output: list[list[float]] = reply.json()["predictions"][0]["output"]
        return output

    async def _insist(self, plan: Plan, body: dict[str, Any]) -> bytes:
        """The answer's bytes; asks until there is one."""
        reply = await self._until_told("POST", _path(plan), body)
        if reply.status_code != 200:
            raise Violation(f"{plan.name}: {reply.status_code} {reply.text} to {json.dumps(body)[:200]}")
        return reply.content

    async def _expect_refusal(self, plan: Plan, number: int, log: Log) -> None:
        """A piece long past is refused, and told the true step."""
        start, stop = plan.pieces[number]
        reply = await self._until_told("POST", _path(plan), _body(plan, start, stop, False))
        told = (reply.status_code, reply.json()["code"], reply.json().get("step"))
        code = "session_exists" if plan.face == "v2" and start == 0 else "session_conflict"
        if told != (409, code, log.steps[-1]):
            raise Violation(f"{plan.name}: a stale piece got {reply.status_code} {reply.text}")

    async def _final_step(self, plan: Plan) -> int | None:
        reply = await self._until_told("GET", f"/sessions/{_session(plan)}", None)
        if reply.status_code in (404, 410):
            return None
        step: int = reply.json()["step"]
        return step

    async def _until_told(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Response:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while loop.time() < deadline:
            try:
                reply = await self._http.request(method, self._rng.choice(self._urls) + path, json=body)
            except httpx.TransportError as error:
                self._seen[type(error).__name__] += 1
            else:
                self._seen[str(reply.status_code)] += 1
                if reply.status_code not in TRY_AGAIN:
                    return reply
            await asyncio.sleep(0.02 + self._rng.random() * 0.1)
        raise Violation(f"no answer within {PATIENCE_S:g} s")


def _session(plan: Plan) -> str:
    return plan.name if plan.face == "predict" else f"v2/vowels/s/{plan.name}"


def _path(plan: Plan) -> str:
    return "/predict" if plan.face == "predict" else "/v2/models/vowels/infer"


def _body(plan: Plan, start: int, stop: int, end: bool) -> dict[str, Any]:
    rows = plan.rows[start:stop]
    if plan.face == "predict":
        sequence = {"steps": rows, "session": plan.name, "at": start, "end": end}
        return {"sequences": [sequence], "return": "all"}
    parameters = {"sequence_id": plan.name, "sequence_start": start == 0, "sequence_end": end, "at": start}
    x = {"name": "x", "datatype": "FP32", "shape": [1, len(rows), WIDTH], "data": [rows]}
    return {"inputs": [x], "parameters": parameters}


def _read(plan: Plan, answer: bytes) -> tuple[list[list[float]], int]:
    """The outputs, step by step, and the session's step."""
    document = json.loads(answer)
    if plan.face == "predict":
        prediction = document["predictions"][0]
        return prediction["output"], prediction["step"]
    output = document["outputs"][0]
    _, steps, classes = output["shape"]
    flat = output["data"]
    return [flat[i * classes : (i + 1) * classes] for i in range(steps)], document["parameters"]["step"]
