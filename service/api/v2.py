"""The Open Inference Protocol's routes: health, metadata, configuration. The gate answers `infer`."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version as version_of
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends

from service.api.errors import MODEL, SEQUENCES, STEPS, errors
from service.api.health import BAD_SESSIONS, CheckSessions, Readiness
from service.api.predict import ANSWERED_BY_THE_GATE
from service.api.v2_paths import PATHS, Selection, refuse_version_in_query
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
from service.errors import (
    Draining,
    SessionExists,
    SessionGone,
    StoreUnavailable,
    UnknownSession,
    WrongShape,
)
from service.http import V2
from service.manifest import Manifest
from service.metrics import Scrape
from service.names import is_stateless
from service.repository import Model, Repository

EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "sequence",
    "sequence(string_id)",
    "statistics",
]
PLATFORM = "onnx_onnxv1"  # the protocol's name for an ONNX graph
OF_SEQUENCES = (
    UnknownSession("no sequence of that id; sequence_start: true starts one"),
    SessionExists("the session is live, at step 145; restart: true replaces it", members={"step": 145}),
    SessionGone(
        "the session expired at step 145; to start it again, send sequence_start: true",
        members={"reason": "expired", "step": 145},
    ),
    WrongShape(
        "input 'x': the shape must be [-1, -1, 12], batch and time the same in every input; got [1, 11]"
    ),
)
LENGTHS = "optional input INT32 [-1]: the number of steps of each row that are not padding"


def build(repository: Repository, readiness: Readiness, scrape: Scrape, *, max_sequences: int) -> APIRouter:
    """The routes below /v2."""
    router = APIRouter(
        prefix="/v2", tags=["open inference protocol"], dependencies=[Depends(refuse_version_in_query)]
    )
    _add_server(router, readiness)
    add_statistics(router, repository, scrape)
    for path, selected in PATHS.items():
        _add_models(router, repository, max_sequences, path, selected)
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

    @router.get(
        "/health/ready",
        responses=errors(BAD_SESSIONS, Draining, StoreUnavailable, is_health=True, dialect=V2),
    )
    async def ready(sessions: CheckSessions = True) -> dict[str, bool]:
        """200 only when every model would answer, also in sessions."""
        await readiness.check(sessions=sessions)
        return {"ready": True}


def _add_models(
    router: APIRouter,
    repository: Repository,
    max_sequences: int,
    path: str,
    selected: Callable[..., Awaitable[Selection]],
) -> None:
    """The routes of a model below `path`, whose parameters `selected` reads."""
    not_found = errors(*MODEL, dialect=V2)
    OfPath = Annotated[Selection, Depends(selected)]

    @router.get(path, responses=not_found, response_model_exclude_none=True)
    async def show_model(selected: OfPath) -> ModelMetadata:
        """Inputs and outputs of a model; without a version, those of the default one."""
        model = selected.find(repository)
        versions = [other.version for other in repository.versions(model.name)]
        return metadata(model.manifest, model.output_dtypes, selected.name, versions)

    @router.get(f"{path}/ready", responses=errors(*MODEL, Draining, is_health=True, dialect=V2))
    async def model_ready(selected: OfPath) -> ModelReady:
        """200 only when the model would answer."""
        if not selected.find(repository).worker.is_alive:
            raise Draining(f"{selected.name} has failed, and this process is about to be replaced")
        return ModelReady(name=selected.name, ready=True)

    @router.get(f"{path}/config", responses=not_found)
    async def show_config(selected: OfPath) -> dict[str, Any]:
        """The model configuration extension, which load generators read."""
        return _config(selected.find(repository), selected.name, max_sequences)

    @router.post(
        f"{path}/infer",
        response_model=InferReply,
        responses=errors(*SEQUENCES, *MODEL, *STEPS, *OF_SEQUENCES, has_body=True, dialect=V2),
    )
    async def infer(
        selected: OfPath,  # noqa: ARG001
        body: Annotated[InferBody, Body(openapi_examples=INFER_EXAMPLES)],  # noqa: ARG001
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
                labels=list(spec.labels) or None,
            )
            for spec, dtype in zip(manifest.outputs, output_dtypes, strict=True)
            if spec.gates is None  # which a response has only if it is requested by name
        ],
        properties=properties,
    )


def _config(model: Model, name: str, max_sequences: int) -> dict[str, Any]:
    """The protocol's configuration extension, with shapes that lack the batch axis."""
    tensors = metadata(model.manifest, model.output_dtypes)
    config: dict[str, Any] = {
        "name": name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": max_sequences,
        "input": [_tensor_config(tensor) for tensor in tensors.inputs],
        "output": [_tensor_config(tensor) for tensor in tensors.outputs],
    }
    if model.manifest.chunkable and not is_stateless(name):  # it makes load generators send sequences
        config["sequence_batching"] = {}
    return config


def _tensor_config(tensor: TensorMetadata) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": f"TYPE_{tensor.datatype}", "dims": tensor.shape[1:]}
