"""`GET /metrics`: the metrics of all workers, for Prometheus."""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Header, Response

from service.api.errors import errors
from service.metrics import Metrics, Workers, render


def build(metrics: Metrics, sample: Callable[[], Awaitable[None]]) -> APIRouter:
    """The route. `sample`: makes this worker's numbers those of now."""
    router = APIRouter(tags=["metrics"])
    workers = Workers(metrics.registry.described, metrics.registry.read)
    text = {
        "description": "Prometheus' text format, or OpenMetrics if Accept asks for it",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }

    @router.get("/metrics", response_class=Response, responses=errors() | {200: text})
    async def show_metrics(accept: str = Header("")) -> Response:
        """The metrics of all workers of this server, in Prometheus' text format or as OpenMetrics."""
        await sample()
        content, content_type = await asyncio.to_thread(render, workers, accept)
        return Response(content, headers={"content-type": content_type})

    return router
