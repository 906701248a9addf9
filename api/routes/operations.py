"""Shows operators the fleet at work."""

from fastapi import APIRouter
from starlette.responses import Response

from api.answers import as_json
from api.dependencies import ADMINISTERS, Calling, Use
from api.schemas.operations import OperationsView

router = APIRouter(tags=["operations"])


@router.get(
    "/api/operations", response_model=OperationsView, dependencies=[ADMINISTERS], summary="Show the fleet at work"
)
def show_operations(services: Use, caller: Calling) -> Response:
    """Workers, queues, throughput, batches and failures, of all tenants together. Answers whatever is away."""
    return as_json(services.operations.get(caller.tenant))
