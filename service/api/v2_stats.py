"""The statistics extension of the Open Inference Protocol: what each version has computed."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends

from service.api.errors import MODEL, errors
from service.api.v2_paths import PATHS, Selection
from service.api.v2_schemas import (
    BatchStatistics,
    Duration,
    InferStatistics,
    ModelStatistics,
    StatisticsReply,
)
from service.http import V2
from service.metrics import Scrape, Timed, VersionTotals
from service.repository import Repository


def add_statistics(router: APIRouter, repository: Repository, scrape: Scrape) -> None:
    """The routes that end with /stats."""

    @router.get("/models/stats", responses=errors(dialect=V2))
    async def show_all() -> StatisticsReply:
        """Statistics of every loaded version, over all workers since the server started."""
        totals = await scrape.versions()
        return StatisticsReply(
            model_stats=[
                _describe(each.name, each.version, totals(each.name, each.version)) for each in repository
            ]
        )

    for path, selected in PATHS.items():
        _add_model(router, repository, scrape, path, selected)


def _add_model(
    router: APIRouter,
    repository: Repository,
    scrape: Scrape,
    path: str,
    selected: Callable[..., Awaitable[Selection]],
) -> None:
    OfPath = Annotated[Selection, Depends(selected)]

    @router.get(f"{path}/stats", responses=errors(*MODEL, dialect=V2))
    async def show_model(selected: OfPath) -> StatisticsReply:
        """Statistics of one version, or of all versions of one model."""
        versions = (
            repository.versions(selected.model) if selected.version is None else [selected.find(repository)]
        )
        totals = await scrape.versions()
        return StatisticsReply(
            model_stats=[
                _describe(selected.name, each.version, totals(each.name, each.version)) for each in versions
            ]
        )


def _describe(name: str, version: str, totals: VersionTotals) -> ModelStatistics:
    stages = totals.stages
    return ModelStatistics(
        name=name,
        version=version,
        last_inference=round(totals.last_call * 1000),
        inference_count=totals.sequences,
        execution_count=totals.calls.count,
        inference_stats=InferStatistics(
            success=_duration(totals.success),
            fail=_duration(totals.fail),
            queue=_duration(stages.get("queue", Timed())),
            compute_input=_duration(stages.get("decode", Timed())),
            compute_infer=_duration(stages.get("run", Timed())),
            compute_output=_duration(stages.get("encode", Timed())),
        ),
        batch_stats=[
            BatchStatistics(batch_size=most, compute_infer=_duration(timed))
            for most, timed in totals.by_sequences.items()
        ],
    )


def _duration(timed: Timed) -> Duration:
    return Duration(count=timed.count, ns=round(timed.seconds * 1e9))
