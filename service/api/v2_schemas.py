"""Models that document the Open Inference Protocol's bodies and replies."""

from typing import Any

from fastapi.openapi.models import Example
from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema


class V2Error(BaseModel):
    """Every error of `/v2`. `code` is Cellgate's own: stable, one per cause."""

    error: str
    code: str


class ServerMetadata(BaseModel):
    """The server, and the extensions of the protocol that it supports."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """A tensor; -1 is a size that each request chooses."""

    name: str
    datatype: str
    shape: list[int]
    labels: list[str] | SkipJsonSchema[None] = Field(None, description="of an output: entry i names class i")


class ModelMetadata(BaseModel):
    """What a client needs to build a request: name, datatype and shape [batch, time, …] of each tensor."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    properties: dict[str, str]


class ModelReady(BaseModel):
    """Whether a model would answer."""

    name: str
    ready: bool


class InferTensor(BaseModel):
    """A tensor. Its numbers are in `data`, flat or nested, or in the bytes after the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, str | int | bool] = {}
    data: list[Any] | None = Field(None, description="absent if the parameter binary_data_size is set")


class RequestedOutput(BaseModel):
    """An output that the reply is to have."""

    name: str
    parameters: dict[str, str | int | bool] | None = Field(
        None, description="binary_data: as bytes after the JSON; classification: so many largest classes"
    )


class InferBody(BaseModel):
    """A batch of sequences, or the next part of one sequence."""

    id: str | None = None
    parameters: dict[str, str | int | bool] = Field(
        {}, description="sequence_id, sequence_start, sequence_end; Cellgate's own: at, restart, return"
    )
    inputs: list[InferTensor] = Field(min_length=1)
    outputs: list[RequestedOutput] | None = Field(None, description="those to return; default: all")


class InferReply(BaseModel):
    """The outputs at every step, or at the last step with `"return": "last"`."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, str | int | bool] | None = None
    outputs: list[InferTensor]


INFER_EXAMPLES: dict[str, Example] = {
    "a batch": {
        "summary": "Two sequences of two steps and one, stateless",
        "value": {
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [2, 2, 12], "data": [0.25] * 48},
                {"name": "lengths", "datatype": "INT32", "shape": [2], "data": [2, 1]},
            ]
        },
    },
    "a sequence": {
        "summary": "The first step of a sequence whose state is kept",
        "value": {
            "parameters": {"sequence_id": "call-42", "sequence_start": True},
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 12], "data": [0.25] * 12}],
        },
    },
}


class Duration(BaseModel):
    """How often something happened, and how long it took together, in nanoseconds."""

    count: int = 0
    ns: int = 0


class InferStatistics(BaseModel):
    """Requests, and their stages."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration = Duration()
    cache_miss: Duration = Duration()


class BatchStatistics(BaseModel):
    """Engine calls by the number of their sequences, rounded up to a power of two."""

    batch_size: int
    compute_input: Duration = Duration()
    compute_infer: Duration
    compute_output: Duration = Duration()


class ModelStatistics(BaseModel):
    """What one version has computed. `inference_count` counts chunks, as each is part of one call."""

    name: str
    version: str
    last_inference: int = Field(description="milliseconds since the Unix epoch; 0: never")
    inference_count: int
    execution_count: int
    inference_stats: InferStatistics
    batch_stats: list[BatchStatistics]


class StatisticsReply(BaseModel):
    """The statistics of one or more versions."""

    model_stats: list[ModelStatistics]
