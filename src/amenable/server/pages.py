"""The front end: files that `make web` builds into static/, and index.html for every page of theirs."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, PlainTextResponse, Response

STATIC = Path(__file__).parent / "static"
NOT_BUILT = "The web app was not built: run `make web` in a copy of the project. The API is there: /api, /v1.\n"
ELSEWHERE = ("api", "v1", "docs", "openapi.json", "assets")
"""First parts of paths that no page of the front end has."""


def install(app: FastAPI, static: Path = STATIC) -> None:
    """Serve the built files. Call it last: it takes every path that is left."""

    @app.get("/assets/{name:path}", include_in_schema=False)
    def asset(name: str) -> Response:
        return _file(static, f"assets/{name}", "public, max-age=31536000, immutable")  # their names hold their hash

    @app.get("/{path:path}", include_in_schema=False)
    def page(path: str) -> Response:
        if path.split("/")[0] in ELSEWHERE:
            return PlainTextResponse("There is nothing here.\n", status_code=404)
        if "." in path.rsplit("/", 1)[-1] and (found := _file(static, path, "no-cache")).status_code == 200:
            return found
        if not (static / "index.html").is_file():
            return PlainTextResponse(NOT_BUILT, status_code=503 if path else 200)
        return FileResponse(static / "index.html", headers={"cache-control": "no-cache"})


def _file(static: Path, name: str, cache: str) -> Response:
    try:
        path = (static / name).resolve()
        is_ours = path.is_relative_to(static.resolve()) and path.is_file()
    except (OSError, ValueError):  # a name too long for a file, or with a zero character
        is_ours = False
    if not is_ours:
        return PlainTextResponse("There is no such file.\n", status_code=404)
    return FileResponse(path, headers={"cache-control": cache})
