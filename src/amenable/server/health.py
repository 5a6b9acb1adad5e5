"""Whether the server and its model worker run."""

from __future__ import annotations

from fastapi import APIRouter

from amenable.server.site import SiteDep

router = APIRouter(prefix="/api", tags=["server"])


@router.get("/health")
def health(site: SiteDep) -> dict[str, str]:
    """For whoever watches over the server."""
    return {"server": "ready", "worker": site.worker.state}
