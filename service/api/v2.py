"""The Open Inference Protocol's routes: health, metadata, configuration. The gate answers `infer`."""

from importlib.metadata import version as version_of
from typing import Annotated, Any

from fastapi import APIRouter, Body

from service.api.errors import MODEL, SEQUENCES, STEPS, errors
from service.api.health import CheckSessions, Readiness
from service.api.predict import ANSWERED_BY_THE_GATE
from service.api.v2_schemas import (
    INFER_EXAMPLES,
    InferBody,
    InferReply,
    ModelMetadata,
    ModelReady,
    ServerMetadata,
    TensorMetadata,
)
from service.api.v2_stats import add_statistics
from service.codec.tensor import DATATYPES
from service.codec.tensors import takes_lengths
from service.errors import Draining, SessionExists, StoreUnavailable
from service.http import V2
from service.manifest import Manifest
from service.metrics import Scrape
from service.repository import Model, Repository

EXTENSIONS = [
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "sequence",
    "sequence(string_id)",
    "statistics",
]
PLATFORM = "onnx_onnxv1"  # the protocol's name for an ONNX graph
LENGTHS = "optional input INT32 [-1]: the number of steps of each row that are not padding"


def build(repository: Repository, readiness: Readiness, scrape: Scrape, *, max_sequences: int) -> APIRouter:
    """The routes below /v2."""
    router = APIRouter(prefix="/v2", tags=["open inference protocol"])
    _add_server(router, readiness)
    add_statistics(router, repository, scrape)
    _add_models(router, repository, max_sequences)
    _add_infer(router)
    return router


def _add_server(router: APIRouter, readiness: Readiness) -> None:
    @router.get("", responses=errors(dialect=V2))
    @router.get("/", include_in_schema=False)
    async def show_server() -> ServerMetadata:
        """The server's name, version and extensions."""
        return ServerMetadata(name="cellgate", version=version_of("cellgate"), extensions=EXTENSIONS)

    @router.get("/health/live")
    async def live() -> dict[str, bool]:
        """200 as long as the process answers at all."""
        return {"live": True}

    @router.get("/health/ready", responses=errors(Draining, StoreUnavailable, is_health=True, dialect=V2))
    async def ready(sessions: CheckSessions = True) -> dict[str, bool]:
        """200 only when every model would answer, also in sessions."""
        await readiness.check(sessions=sessions)
        return {"ready": True}


def _add_models(router: APIRouter, repository: Repository, max_sequences: int) -> None:
    not_found = errors(*MODEL, dialect=V2)
    ready = errors(*MODEL, Draining, is_health=True, dialect=V2)

    @router.get("/models/{name}", responses=not_found)
    @router.get("/models/{name}/versions/{version}", responses=not_found)
    async def show_model(name: str, version: str | None = None) -> ModelMetadata:
        """Inputs and outputs of a model; without a version, those of the default one."""
        model = repository.get(name, version)
        return _metadata(model, [other.version for other in repository.versions(name)])

    @router.get("/models/{name}/ready", responses=ready)
    @router.get("/models/{name}/versions/{version}/ready", responses=ready)
    async def model_ready(name: str, version: str | None = None) -> ModelReady:
        """200 only when the model would answer."""
        model = repository.get(name, version)
        if not model.worker.is_alive:
            raise Draining(f"{name} has failed, and this process is about to be replaced")
        return ModelReady(name=model.name, ready=True)

    @router.get("/models/{name}/config", responses=not_found)
    @router.get("/models/{name}/versions/{version}/config", responses=not_found)
    async def show_config(name: str, version: str | None = None) -> dict[str, Any]:
        """The model configuration extension, which load generators read."""
        return _config(repository.get(name, version), max_sequences)


def _add_infer(router: APIRouter) -> None:
    responses = errors(*SEQUENCES, *MODEL, *STEPS, SessionExists, has_body=True, dialect=V2)

    @router.post("/models/{name}/infer", response_model=InferReply, responses=responses)
    @router.post("/models/{name}/versions/{version}/infer", response_model=InferReply, responses=responses)
    async def infer(
        name: str,  # noqa: ARG001
        body: Annotated[InferBody, Body(openapi_examples=INFER_EXAMPLES)],  # noqa: ARG001
        version: str | None = None,  # noqa: ARG001
    ) -> None:
        """Predict. Each row of the batch is a sequence; later requests continue one with a `sequence_id`.

        With binary tensors, `Inference-Header-Content-Length` is the length of the JSON before them.
        """
        raise AssertionError(ANSWERED_BY_THE_GATE)


def metadata(
    manifest: Manifest, output_dtypes: tuple[str, ...], name: str = "", versions: list[str] | None = None
) -> ModelMetadata:
    """What a client needs to build a request; -1 is a size that it chooses."""
    time = manifest.exact_steps or -1
    properties = {"task": manifest.task} | ({"lengths": LENGTHS} if takes_lengths(manifest) else {})
    return ModelMetadata(
        name=name,
        versions=versions or [],
        platform=PLATFORM,
        inputs=[
            TensorMetadata(
                name=spec.name,
                datatype=DATATYPES[spec.dtype],
                shape=[-1, time, *spec.dims] if spec.per == "step" else [-1, *spec.dims],
            )
            for spec in manifest.inputs
        ],
        outputs=[
            TensorMetadata(
                name=spec.name,
                datatype=DATATYPES[dtype],
                shape=[-1, time if spec.steps == "all" else 1, *spec.dims],
            )
            for spec, dtype in zip(manifest.outputs, output_dtypes, strict=True)
        ],
        properties=properties,
    )


def _metadata(model: Model, versions: list[str]) -> ModelMetadata:
    return metadata(model.manifest, model.output_dtypes, model.name, versions)


def _config(model: Model, max_sequences: int) -> dict[str, Any]:
    """The protocol's configuration extension, with shapes that lack the batch axis."""
    metadata = _metadata(model, [model.version])

    config: dict[str, Any] = {
        "name": model.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": max_sequences,
        "input": [_tensor_config(tensor) for tensor in metadata.inputs],
        "output": [_tensor_config(tensor) for tensor in metadata.outputs],
    }
    if model.manifest.chunkable:  # its presence makes load generators send sequences
        config["sequence_batching"] = {}
    return config


def _tensor_config(tensor: TensorMetadata) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": f"TYPE_{tensor.datatype}", "dims": tensor.shape[1:]}
