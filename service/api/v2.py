"""The Open Inference Protocol's routes for all but the numbers: health, metadata, configuration.

`infer` is documented here and answered by `front`, with `oip`.
"""

from collections.abc import Callable
from importlib.metadata import version as version_of
from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.openapi.models import Example
from pydantic import BaseModel, Field

from service.api.errors import AskStore, CheckReady
from service.codec.tensors import DATATYPES, takes_lengths
from service.repository import Model, Repository

EXTENSIONS = ["binary_tensor_data", "model_configuration", "sequence", "sequence(string_id)"]
PLATFORM = "onnx_onnxv1"  # the protocol's name for an ONNX graph
LENGTHS = "optional input INT32 [-1]: how many of the time axis's steps each row really has"
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "the request is at fault; `error` says where"},
    404: {"description": "unknown model, version or sequence"},
    409: {"description": "the sequence is at another step, live already, or on another version"},
    410: {"description": "the sequence is gone: ended, expired or evicted"},
    413: {"description": "body too large"},
    500: {"description": "our bug, or the graph's; the log has it under the request's id"},
    503: {"description": "overloaded, stopping, or no room; try again after Retry-After seconds"},
    504: {"description": "not computed before the deadline"},
}


class V2Error(BaseModel):
    """Every answer of `/v2` but 200. `code` is Cellgate's own: stable, one per cause."""

    error: str
    code: str


class ServerMetadata(BaseModel):
    """The server, and which extensions of the protocol it knows."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """A tensor; -1 stands for a size that differs from request to request."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a client has to know to fill in a request: [batch, time, …] of each tensor."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    properties: dict[str, str]


class ModelReady(BaseModel):
    """A model that would answer."""

    name: str
    ready: bool


class InferTensor(BaseModel):
    """A tensor: its numbers in `data`, flat or nested, or in the bytes that follow the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, str | int | bool] = {}
    data: list[Any] | None = Field(None, description="absent with the parameter binary_data_size")


class InferBody(BaseModel):
    """A batch of sequences, or the next part of one."""

    id: str | None = None
    parameters: dict[str, str | int | bool] = Field(
        {}, description="sequence_id, sequence_start, sequence_end; our own: at, restart, return"
    )
    inputs: list[InferTensor] = Field(min_length=1)
    outputs: list[dict[str, Any]] | None = None


class InferReply(BaseModel):
    """The output of every step, or with `"return": "last"` of the last one."""

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
            "parameters": {"sequence_id": "call-43", "sequence_start": True},
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 12], "data": [0.25] * 12}],
        },
    },
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented error responses of a route."""
    return {status: ERRORS[status] | {"model": V2Error} for status in statuses}


def build(repository: Callable[[], Repository], check_ready: CheckReady, *, max_sequences: int) -> APIRouter:
    """The routes below /v2. They ask for the parts at each request: they exist once the server runs."""
    router = APIRouter(prefix="/v2", tags=["open inference protocol"])
    _add_server(router, repository, check_ready)
    _add_models(router, repository, max_sequences)
    _add_infer(router)
    return router


def _add_server(router: APIRouter, repository: Callable[[], Repository], check_ready: CheckReady) -> None:
    @router.get("")
    @router.get("/", include_in_schema=False)
    async def show_server() -> ServerMetadata:
        """The server's name, version and extensions."""
        return ServerMetadata(name="cellgate", version=version_of("cellgate"), extensions=EXTENSIONS)

    @router.get("/health/live")
    async def live() -> dict[str, bool]:
        """200 as long as the process can answer at all."""
        return {"live": True}

    @router.get("/health/ready", responses=errors(503))
    async def ready(sessions: AskStore = True) -> dict[str, bool]:
        """200 only when every model would answer, in sessions too."""
        await check_ready(sessions)
        return {"ready": True}

    @router.post("/repository/index")
    async def list_models() -> list[dict[str, str]]:
        """Every loaded version of every model."""
        return [
            {"name": model.name, "version": model.version, "state": "READY", "reason": ""}
            for model in repository()
        ]


def _add_models(router: APIRouter, repository: Callable[[], Repository], max_sequences: int) -> None:
    @router.get("/models/{name}", responses=errors(404))
    @router.get("/models/{name}/versions/{version}", responses=errors(404))
    async def show_model(name: str, version: str | None = None) -> ModelMetadata:
        """Inputs and outputs of a model; without a version, of the default one."""
        model = repository().get(name, version)
        return _metadata(model, [other.version for other in repository().versions(name)])

    @router.get("/models/{name}/ready", responses=errors(404))
    @router.get("/models/{name}/versions/{version}/ready", responses=errors(404))
    async def model_ready(name: str, version: str | None = None) -> ModelReady:
        """200 when the model would answer; it is loaded before the server takes requests at all."""
        model = repository().get(name, version)
        return ModelReady(name=model.name, ready=model.worker.is_alive)

    @router.get("/models/{name}/config", responses=errors(404))
    @router.get("/models/{name}/versions/{version}/config", responses=errors(404))
    async def show_config(name: str, version: str | None = None) -> dict[str, Any]:
        """The model configuration extension: what load generators ask for."""
        return _config(repository().get(name, version), max_sequences)


def _add_infer(router: APIRouter) -> None:
    responses: dict[int | str, dict[str, Any]] = errors(
        *[status for status in ERRORS if isinstance(status, int)]
    )

    @router.post("/models/{name}/infer", response_model=InferReply, responses=responses)
    @router.post("/models/{name}/versions/{version}/infer", response_model=InferReply, responses=responses)
    async def infer(
        name: str,  # noqa: ARG001
        body: Annotated[InferBody, Body(openapi_examples=INFER_EXAMPLES)],  # noqa: ARG001
        version: str | None = None,  # noqa: ARG001
    ) -> None:
        """Predict. Every row of the batch is a sequence of its own; one with a `sequence_id` goes on later.

        Binary tensors: `Inference-Header-Content-Length` says how much of the body is JSON.
        """
        raise AssertionError("answered by service.http.gate")


def _metadata(model: Model, versions: list[str]) -> ModelMetadata:
    manifest, output = model.manifest, model.manifest.outputs[0]
    steps = -1 if output.steps == "all" else 1
    properties = {"task": manifest.task} | ({"lengths": LENGTHS} if takes_lengths(manifest) else {})
    return ModelMetadata(
        name=model.name,
        versions=versions,
        platform=PLATFORM,
        inputs=[
            TensorMetadata(name=spec.name, datatype=DATATYPES[spec.dtype], shape=[-1, -1, *spec.dims])
            for spec in manifest.inputs
        ],
        outputs=[
            TensorMetadata(
                name=output.name, datatype=DATATYPES[model.output_dtype], shape=[-1, steps, *output.dims]
            )
        ],
        properties=properties,
    )


def _config(model: Model, max_sequences: int) -> dict[str, Any]:
    """As the protocol's configuration extension has it: shapes without the batch axis."""
    metadata = _metadata(model, [model.version])

    def tensors(given: list[TensorMetadata]) -> list[dict[str, Any]]:
        return [
            {"name": tensor.name, "data_type": f"TYPE_{tensor.datatype}", "dims": tensor.shape[1:]}
            for tensor in given
        ]

    config: dict[str, Any] = {
        "name": model.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": max_sequences,
        "input": tensors(metadata.inputs),
        "output": tensors(metadata.outputs),
    }
    if model.manifest.chunkable:  # its presence makes a load generator send sequences
        config["sequence_batching"] = {}
    return config
