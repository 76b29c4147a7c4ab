"""Load by users as they come: single calls of mixed lengths, sessions that step on, bulk requests.

    make loadtest                                             against a server of its own
    make loadtest URL=http://127.0.0.1:8000 USERS=200 TIME=5m
    locust -f benchmarks/locustfile.py -H http://127.0.0.1:8000        with locust's own page, at :8089

It asks `GET /models` what the model takes, so it fits any numeric model that has an example.
"""

import random
import uuid
from typing import Any

from locust import FastHttpUser, between, task

LENGTHS, WEIGHTS = (1, 5, 20, 50, 200), (30, 30, 25, 10, 5)


class CellgateUser(FastHttpUser):
    """Knows the model's example, and cuts sequences of any length out of it."""

    abstract = True
    rows: list[Any]
    model: str

    def on_start(self) -> None:
        """Ask what there is to predict."""
        models = [m for m in self.client.get("/models").json()["models"] if m["example"]]
        chosen = next(m for m in models if isinstance(m["example"]["steps"], list))
        self.model, self.rows = chosen["name"], chosen["example"]["steps"]

    def sequence(self, steps: int) -> list[Any]:
        """`steps` rows of the example, over and over, from a random place on."""
        start = random.randrange(len(self.rows))
        return [self.rows[(start + i) % len(self.rows)] for i in range(steps)]

    def predict(self, sequences: list[Any], name: str) -> list[dict[str, Any]]:
        """POST them; a prediction that is an error counts as a failure."""
        body = {"model": self.model, "sequences": sequences}
        with self.client.post("/predict", json=body, name=name, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"{response.status_code}: {response.text[:200] if response.text else ''}")
                return []
            predictions: list[dict[str, Any]] = response.json()["predictions"]
            if any("error" in prediction for prediction in predictions):
                response.failure("an error among the predictions")
            return predictions


class Caller(CellgateUser):
    """Single, stateless calls, most of them short."""

    weight = 6
    wait_time = between(0.01, 0.1)

    @task
    def call(self) -> None:
        """One sequence."""
        steps = random.choices(LENGTHS, WEIGHTS)[0]
        self.predict([self.sequence(steps)], f"one sequence, {steps} steps")


class Stepper(CellgateUser):
    """A session that steps on, says where it believes to be, and ends some day."""

    weight = 6
    wait_time = between(0.01, 0.1)

    def on_start(self) -> None:
        """A session of one's own."""
        super().on_start()
        self.begin()

    def begin(self) -> None:
        """A new name, at step 0."""
        self.session, self.at = uuid.uuid4().hex, 0

    @task
    def step(self) -> None:
        """The next one to three steps; what did not arrive is sent again at the next turn."""
        steps, end = self.sequence(random.randint(1, 3)), self.at > 100
        sequence = {"steps": steps, "session": self.session, "at": self.at, "end": end}
        for prediction in self.predict([sequence], "a session's next steps"):
            self.at = prediction["step"]
            if end:
                self.begin()


class Bulk(CellgateUser):
    """Now and then a whole batch of sequences of different lengths."""

    weight = 1
    wait_time = between(0.5, 2)

    @task
    def call(self) -> None:
        """64 sequences in one request."""
        self.predict(
            [self.sequence(random.randint(10, 100)) for _ in range(64)], "64 sequences in one request"
        )
