"""What goes wrong, as JSON: {"detail": a plain sentence, "field": the name of what was wrong or null}."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from amenable.errors import AmenableError, ConflictError, UnavailableError
from amenable.feedback.accounts import NoAccountError
from amenable.feedback.conversations import NoSuch


class NotFound(AmenableError):
    """There is no such thing, or it is not this person's."""


class Forbidden(AmenableError):
    """This person may not do that."""


class Conflict(AmenableError):
    """It cannot be done as things stand."""


class SignInFirst(AmenableError):
    """Nobody is signed in, or the session is over."""


class TooMany(AmenableError):
    """More requests than the limit allows."""


class WorkerDown(AmenableError):
    """The model worker is not there."""


STATUS: dict[type[AmenableError], int] = {
    NotFound: 404,
    NoSuch: 404,
    NoAccountError: 404,
    Forbidden: 403,
    Conflict: 409,
    ConflictError: 409,
    SignInFirst: 401,
    TooMany: 429,
    WorkerDown: 503,
    UnavailableError: 503,
}


def sentence(error: AmenableError) -> str:
    """What went wrong and how to mend it. Where it lies is for the log: it may name files of the server."""
    return error.what + (f": {error.mend}" if error.mend else "")


def status_of(error: AmenableError) -> int:
    """The HTTP status of an error; 400 for what has none of its own."""
    return next((status for kind, status in STATUS.items() if isinstance(error, kind)), 400)


def answer(status: int, detail: str, field: str | None = None, **headers: str) -> JSONResponse:
    """An error as JSON."""
    return JSONResponse({"detail": detail, "field": field}, status_code=status, headers=headers or None)


def install(app: FastAPI) -> None:
    """Answer every error of the app in the one form."""

    @app.exception_handler(AmenableError)
    def ours(request: Request, error: AmenableError) -> JSONResponse:
        wait = {"retry-after": "10"} if isinstance(error, TooMany | WorkerDown | UnavailableError) else {}
        return answer(status_of(error), sentence(error), getattr(error, "field", None), **wait)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        return answer(422, f"{field or 'the request'}: {first['msg']}", field or None)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, str(error.detail), **dict(error.headers or {}))

    @app.exception_handler(Exception)
    def bug(request: Request, error: Exception) -> JSONResponse:
        return answer(500, "something went wrong inside the server; its log says what")


def example(status: int, what: str) -> dict[int | str, dict[str, Any]]:
    """An entry for the `responses` of a route's OpenAPI description."""
    return {status: {"description": what}}
