"""The app: its routes, what stands before them, and what runs as long as it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio.to_thread
from fastapi import Depends, FastAPI

from amenable import __version__
from amenable.server import (
    access,
    chat,
    errors,
    generation,
    health,
    openai,
    pages,
    people,
    playground,
    runs,
    stages,
    transfers,
)
from amenable.server.guard import Guard
from amenable.server.labelling import router as labelling
from amenable.server.projects import router as projects
from amenable.server.reviewing import router as reviewing
from amenable.server.site import Site
from amenable.server.waking import Waking
from amenable.types import learn_fields

NUM_THREADS = 12  # routes that run at once; each may hold a connection of the database's pool of 15


def create_app(site: Site, *, static: Path = pages.STATIC) -> FastAPI:
    """The web app of a workspace. Starts the model worker with itself and ends it at its end."""

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = NUM_THREADS
        learn_fields()
        site.worker.start()
        waking = Waking(site)
        waking.start()
        try:
            yield
        finally:
            waking.stop()
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

    for part in (people, generation, chat, playground, openai, runs, stages, transfers, health):
        app.include_router(
            part.router, dependencies=[Depends(access.ask)]
        )  # no route goes without CSRF and rate limits
    for router in (labelling, projects, reviewing):
        app.include_router(router, dependencies=[Depends(access.ask)])
    pages.install(app, static)
    app.add_middleware(Guard, settings=site.settings, may_import=partial(access.may_import, site))
    return app
