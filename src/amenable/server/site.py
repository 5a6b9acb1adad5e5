"""What the app holds while it runs: the workspace, the database, the model worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends, Request

from amenable.config.folder import WorkspaceFolder
from amenable.feedback.database import open_engine
from amenable.feedback.store import Store
from amenable.server.fullness import Fullness
from amenable.server.models import ModelWorker
from amenable.server.rates import Rates
from amenable.server.settings import ServerSettings
from amenable.server.starting import Runs


@dataclass(frozen=True)
class Site:
    """One per app."""

    workspace: WorkspaceFolder
    settings: ServerSettings
    engine: sa.Engine
    store: Store
    worker: ModelWorker
    runs: Runs
    rates: Rates = field(default_factory=Rates)
    fullness: Fullness = field(default_factory=Fullness)


def open_site(workspace: WorkspaceFolder, settings: ServerSettings) -> Site:
    """Open the workspace's database. The worker is not started yet."""
    engine = open_engine(workspace.database)
    return Site(workspace, settings, engine, Store(engine), ModelWorker(workspace), Runs(workspace))


async def site_of(request: Request) -> Site:
    """The app's site, for routes. Async, as all that waits for nothing: a plain function would be given a thread."""
    site: Site = request.app.state.site
    return site


SiteDep = Annotated[Site, Depends(site_of)]
