"""`GET /metrics`: the metrics of all workers, for Prometheus."""

from fastapi import APIRouter, Header, Response

from service.api.errors import errors
from service.metrics import Scrape

TEXT = {
    "description": "Prometheus' text format, or OpenMetrics if Accept asks for it",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


def build(scrape: Scrape) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=Response, responses=errors() | {200: TEXT})
    async def show_metrics(accept: str = Header("")) -> Response:
        """The metrics of all workers of this server, in Prometheus' text format or as OpenMetrics."""
        content, content_type = await scrape.text(accept)
        return Response(content, headers={"content-type": content_type})

    return router
