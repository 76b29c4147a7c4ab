"""Simulated users: single requests of mixed lengths, sessions, and bulk requests.

    make loadtest                                             starts a server
    make loadtest URL=http://127.0.0.1:8000 USERS=200 TIME=5m
    locust -f benchmarks/locustfile.py -H http://127.0.0.1:8000        with Locust's web page, at :8089

It reads `GET /models`, so it works with any numeric model that has an example.
"""

import random
import uuid
from typing import Any

from locust import FastHttpUser, between, task

LENGTHS, WEIGHTS = (1, 5, 20, 50, 200), (30, 30, 25, 10, 5)


class CellgateUser(FastHttpUser):
    """A user that sends sequences of any length, made from the model's example."""

    abstract = True
    rows: list[Any]
    model: str

    def on_start(self) -> None:
        """Choose a model."""
        models = [m for m in self.client.get("/models").json()["models"] if m["example"]]
        chosen = next(m for m in models if isinstance(m["example"]["steps"], list))
        self.model, self.rows = chosen["name"], chosen["example"]["steps"]

    def sequence(self, steps: int) -> list[Any]:
        """`steps` rows of the example, repeated, from a random row on."""
        start = random.randrange(len(self.rows))
        return [self.rows[(start + i) % len(self.rows)] for i in range(steps)]

    def predict(self, sequences: list[Any], name: str) -> list[dict[str, Any]]:
        """Post the sequences; a prediction with an error counts as a failure."""
        body = {"model": self.model, "sequences": sequences}
        with self.client.post("/predict", json=body, name=name, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code}: {response.text[:200] if response.text else ''}")
                return []
            predictions: list[dict[str, Any]] = response.json()["predictions"]
            if any("error" in prediction for prediction in predictions):
                response.failure("a prediction has an error")
            return predictions


class Caller(CellgateUser):
    """Single stateless requests, most of them short."""

    weight = 6
    wait_time = between(0.01, 0.1)

    @task
    def call(self) -> None:
        """One sequence."""
        steps = random.choices(LENGTHS, WEIGHTS)[0]
        self.predict([self.sequence(steps)], f"one sequence, {steps} steps")


class Stepper(CellgateUser):
    """A session that continues with `at`, and ends after about 100 steps."""

    weight = 6
    wait_time = between(0.01, 0.1)

    def on_start(self) -> None:
        """Start a session."""
        super().on_start()
        self.begin()

    def begin(self) -> None:
        """A new session name, at step 0."""
        self.session, self.at = uuid.uuid4().hex, 0

    @task
    def step(self) -> None:
        """The next one to three steps; after a failure the next request repeats `at`."""
        steps, end = self.sequence(random.randint(1, 3)), self.at > 100
        sequence = {"steps": steps, "session": self.session, "at": self.at, "end": end}
        for prediction in self.predict([sequence], "a session's next steps"):
            self.at = prediction["step"]
            if end:
                self.begin()


class Bulk(CellgateUser):
    """Occasional requests with many sequences of different lengths."""

    weight = 1
    wait_time = between(0.5, 2)

    @task
    def call(self) -> None:
        """64 sequences in one request."""
        self.predict(
            [self.sequence(random.randint(10, 100)) for _ in range(64)], "64 sequences in one request"
        )
