"""`GET /v1/health`: whether the server answers."""

from fastapi import APIRouter

from implio_pipeline.api.documents import answer, answers

router = APIRouter(tags=["health"])


@router.get(
    "/v1/health",
    operation_id="getHealth",
    response_model=None,
    summary="Tell that the server is alive",
    responses=answers({200: answer("It answers.", "Health")}, 429),
)
async def health() -> dict[str, str]:
    """Answer without looking at anything, so that a busy catalog does not look like a dead server."""
    return {"status": "alive"}
