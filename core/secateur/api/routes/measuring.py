"""The path of the figures for monitoring."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from secateur.api.parameters import require_unambiguous
from secateur.api.services import Injected, failures

router = APIRouter(dependencies=[Depends(require_unambiguous)])


@router.get(
    "/metrics",
    response_class=Response,
    responses=failures()
    | {
        200: {
            "description": "In the text format of Prometheus, or of OpenMetrics if `Accept` asks for it.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        }
    },
    summary="Figures for Prometheus",
)
async def metrics(request: Request, services: Injected) -> Response:
    """Depth, waiting times and counters of the 200 functions with the largest backlogs, the sum of all others, and the
    cancellations and their sweeps. `docs/alerts.yaml` has rules for it."""
    text, content_type = await services.metrics.scrape(request.headers.get("accept", ""))
    return Response(text, headers={"Content-Type": content_type})
