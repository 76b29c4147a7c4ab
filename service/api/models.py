"""`GET /models`: what each loaded model takes and returns, and how it is doing."""

from dataclasses import asdict

from fastapi import APIRouter

from service.api.errors import errors
from service.api.schemas import BatchingReply, ModelReply, ModelsReply, ShadowReply
from service.errors import UnknownModel
from service.metrics import Comparison, Scrape, VersionTotals
from service.repository import Model, Repository, Steering


def build(repository: Repository, scrape: Scrape, steering: Steering) -> APIRouter:
    """The routes below /models."""
    router = APIRouter(tags=["models"])

    async def show(models: list[Model]) -> ModelsReply:
        totals = await scrape.versions()
        compared = {
            (model.name, model.version): await scrape.comparisons(model.name, model.version)
            for model in models
            if repository.choice(model.name).shadow == model.version
        }
        return ModelsReply(
            models=[
                describe(
                    model,
                    repository,
                    steering,
                    totals(model.name, model.version),
                    compared.get((model.name, model.version)),
                )
                for model in models
            ]
        )

    @router.get("/models", responses=errors())
    async def list_models() -> ModelsReply:
        """All loaded models."""
        return await show(list(repository))

    @router.get("/models/{name}", responses=errors(UnknownModel))
    async def show_model(name: str) -> ModelsReply:
        """Every loaded version of one model."""
        return await show(repository.versions(name))

    return router


def describe(
    model: Model,
    repository: Repository,
    steering: Steering,
    totals: VersionTotals,
    compared: list[Comparison] | None,
) -> ModelReply:
    """One version of a model, as `GET /models` shows it. `compared`: of a shadow."""
    manifest, calls, choice = model.manifest, totals.calls.count, repository.choice(model.name)
    return ModelReply(
        name=model.name,
        version=model.version,
        description=manifest.description,
        task=manifest.task,
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        sessions=manifest.chunkable,
        default=repository.is_default(model),
        aliases=sorted(alias for alias, version in choice.aliases.items() if version == model.version),
        canary_weight=choice.weight if choice.canary == model.version else None,
        shadow=None if compared is None else [ShadowReply(**asdict(each)) for each in compared],
        policy_fault=steering.fault(model.name),
        retiring=repository.is_retired(model),
        provider=model.provider,
        exact=model.is_exact,
        max_difference=model.difference,
        fingerprint=model.binding.graph.hex(),
        optimization=model.optimization,
        states=list(model.states),
        batching=BatchingReply(
            calls=calls,
            sequences_per_call=round(totals.sequences / calls, 3) if calls else 0.0,
            steps=totals.steps,
            padding=round(totals.padding, 4),
            waiting=totals.waiting,
        ),
        table=manifest.table,
        metrics=manifest.metrics,
        example=manifest.example,
        provenance=manifest.provenance,
    )
