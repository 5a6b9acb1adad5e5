"""The app: its routes, what stands before them, and what runs as long as it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
from fastapi import FastAPI

from amenable import __version__
from amenable.server import errors, pages
from amenable.server.guard import Guard
from amenable.server.site import Site

NUM_THREADS = 12  # routes that run at once; each may hold a connection of the database's pool of 15


def create_app(site: Site, *, static: Path = pages.STATIC) -> FastAPI:
    """The web app of a workspace. Starts the model worker with itself and ends it at its end."""

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = NUM_THREADS
        site.worker.start()
        try:
            yield
        finally:
            site.worker.stop()
            site.engine.dispose()

    app = FastAPI(
        title="amenable",
        version=__version__,
        lifespan=running,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.site = site
    errors.install(app)

    @app.get("/api/health", tags=["server"])
    def health() -> dict[str, str]:
        """Whether the server and its model worker run."""
        return {"server": "ready", "worker": site.worker.state}

    pages.install(app, static)
    app.add_middleware(Guard, settings=site.settings)
    return app
