"""Shows metrics to Prometheus. What there is to see is the business of `voxqueue.metrics`."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.dependencies import ADMINISTERS
from voxqueue.metrics.exposition import Exposition

router = APIRouter(tags=["operations"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Metrics in Prometheus' text format", "content": {"text/plain": {}}}},
    dependencies=[ADMINISTERS],
    summary="Show metrics",
)
def show_metrics(request: Request) -> Response:
    """What Prometheus scrapes of this API: its own counters, and queues, fleet and webhooks as all APIs see them."""
    exposition: Exposition = request.app.state.exposition
    page, media_type = exposition.render(request.headers.get("accept", ""))
    return Response(page, headers={"Content-Type": media_type})
