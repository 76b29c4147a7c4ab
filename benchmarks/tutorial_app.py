"""A peer as in many tutorials: FastAPI, pydantic, `session.run` in a sync handler, default options.

MODEL=model.onnx uvicorn benchmarks.tutorial_app:app
"""

import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
session = ort.InferenceSession(os.environ["MODEL"], providers=["CPUExecutionProvider"])
layers, _, hidden = next(node.shape for node in session.get_inputs() if node.name == "h")


class Request(BaseModel):
    """One sequence."""

    sequence: list[list[float]]


class Response(BaseModel):
    """Scores of its last step."""

    scores: list[float]
    label: int


@app.get("/health")
def health() -> dict[str, str]:
    """Readiness."""
    return {"status": "ok"}


@app.post("/predict")
def predict(request: Request) -> Response:
    """Run the model on one sequence from a zero state."""
    x = np.array([request.sequence], dtype=np.float32)
    state = np.zeros((layers, 1, hidden), dtype=np.float32)
    feeds = {"x": x, "lengths": np.array([x.shape[1]], dtype=np.int32), "h": state, "c": state}
    (y,) = session.run(["y"], feeds)
    scores = np.asarray(y)[0, -1]
    return Response(scores=scores.tolist(), label=int(scores.argmax()))
