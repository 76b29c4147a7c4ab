"""`GET /models`: what each loaded model takes and returns, and how it is doing."""

from fastapi import APIRouter

from service.api.errors import errors
from service.api.schemas import BatchingReply, ModelReply, ModelsReply
from service.errors import UnknownModel
from service.repository import Model, Repository


def build(repository: Repository) -> APIRouter:
    """The routes below /models."""
    router = APIRouter(tags=["models"])

    @router.get("/models", responses=errors())
    async def list_models() -> ModelsReply:
        """All loaded models."""
        return ModelsReply(models=[describe(model, repository) for model in repository])

    @router.get("/models/{name}", responses=errors(UnknownModel))
    async def show_model(name: str) -> ModelsReply:
        """Every loaded version of one model."""
        return ModelsReply(models=[describe(model, repository) for model in repository.versions(name)])

    return router


def describe(model: Model, repository: Repository) -> ModelReply:
    """One version of a model, as `GET /models` shows it."""
    manifest, scheduler = model.manifest, model.worker.scheduler
    return ModelReply(
        name=model.name,
        version=model.version,
        description=manifest.description,
        task=manifest.task,
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        sessions=manifest.chunkable,
        default=repository.is_default(model),
        retiring=repository.is_retired(model),
        provider=model.provider,
        exact=model.is_exact,
        max_difference=model.difference,
        fingerprint=model.binding.graph.hex(),
        optimization=model.optimization,
        batching=BatchingReply(
            calls=scheduler.counts.calls,
            sequences_per_call=round(scheduler.counts.occupancy, 3),
            steps=scheduler.counts.steps,
            padding=round(scheduler.counts.padding, 4),
            waiting=len(scheduler),
        ),
        metrics=manifest.metrics,
        example=manifest.example,
        provenance=manifest.provenance,
    )
