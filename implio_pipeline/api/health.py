"""`GET /v1/health`: whether the server answers."""

from fastapi import APIRouter

router = APIRouter(tags=["health"])


@router.get("/v1/health", summary="Tell that the server is alive")
async def health() -> dict[str, str]:
    """Answer without looking at anything, so that a busy catalog does not look like a dead server."""
    return {"status": "alive"}
