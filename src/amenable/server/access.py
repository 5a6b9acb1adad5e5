"""Who asks, and whether they may: sessions, API tokens, CSRF, roles. `Asking` stands before every route of the app."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response

from amenable.feedback import accounts
from amenable.feedback.accounts import ROLES, Person, Role
from amenable.feedback.database import reading, writing
from amenable.feedback.tables import now
from amenable.server.errors import Forbidden, SignInFirst
from amenable.server.site import Site, SiteDep

SAFE = ("GET", "HEAD", "OPTIONS")
SESSION, VISITOR, CSRF = "amenable_session", "amenable_visitor", "x-csrf-token"


def cookie(site: Site, name: str) -> str:
    """A cookie's name here. With TLS browsers hold `__Host-` cookies to this very host."""
    return f"__Host-{name}" if site.settings.secure else name


def set_cookie(response: Response, site: Site, name: str, value: str, *, days: float | None = None) -> None:
    """Keep a secret in the browser, where no script sees it and no other site sends it."""
    age = None if days is None else int(days * 86400)
    secure = site.settings.secure
    response.set_cookie(
        cookie(site, name), value, max_age=age, path="/", httponly=True, samesite="lax", secure=secure
    )  # fmt: skip


def drop_cookie(response: Response, site: Site, name: str) -> None:
    response.delete_cookie(cookie(site, name), path="/", httponly=True, samesite="lax", secure=site.settings.secure)


def csrf_of(secret: str) -> str:
    """What a page must say to show that it may read this server's answers; follows from its cookie."""
    return accounts.hash_secret(f"csrf:{secret}")


def session_secret(request: Request, site: Site) -> str:
    return request.cookies.get(cookie(site, SESSION), "")


def ask(request: Request, site: SiteDep) -> Person | None:
    """Who asks; None: nobody signed in. Counts the request, and refuses one that another site's page sent.

    Raises Forbidden without the right CSRF header, SignInFirst for an API token that is not known, TooMany.
    """
    person = _by_token(request, site) if "authorization" in request.headers else _by_session(request, site)
    site.rates.take("any", f"user {person.id}" if person else f"address {address(request)}")
    return person


def _by_session(request: Request, site: Site) -> Person | None:
    if request.method not in SAFE:
        _check_csrf(request, site)
    secret = session_secret(request, site)
    if not secret:
        return None
    with reading(site.engine) as connection:
        found = accounts.session(connection, secret, idle=idle(site), longest=longest(site))
    if found is None:
        return None
    person, is_stale = found
    if is_stale:
        with writing(site.engine) as connection:
            accounts.seen(connection, secret, person.id)
    return person


def _by_token(request: Request, site: Site) -> Person:
    with reading(site.engine) as connection:
        found = accounts.token(connection, _bearer(request))
    if found is None:
        site.rates.take("any", f"address {address(request)}")
        raise SignInFirst("this API token is not known", mend="make one under /account, or with POST /api/tokens")
    person, number, used_at = found
    if used_at is None or now() - used_at > accounts.SEEN_EVERY:
        with writing(site.engine) as connection:
            accounts.use_token(connection, number)
    return person


def may_import(site: Site, scope: MutableMapping[str, Any]) -> bool:
    """Whether a session or API token of an administrator asks, so that a long body is worth reading. `ask` still follows."""
    request = Request(scope)
    with reading(site.engine) as connection:
        found: tuple[Any, ...] | None
        if "authorization" in request.headers:
            found = accounts.token(connection, _bearer(request))
        else:
            found = accounts.session(connection, session_secret(request, site), idle=idle(site), longest=longest(site))
    return found is not None and found[0].role == "administrator"


def _bearer(request: Request) -> str:
    """The secret of a request's API token; "" where it carries none."""
    scheme, _, secret = request.headers["authorization"].partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _check_csrf(request: Request, site: Site) -> None:
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Forbidden("this request came from another site's page")
    secret = session_secret(request, site) or request.cookies.get(cookie(site, VISITOR), "")
    said = request.headers.get(CSRF, "")
    if not secret or not hmac.compare_digest(said.encode(), csrf_of(secret).encode()):
        raise Forbidden(
            "the request does not show that it comes from this server's own page",
            mend="send X-CSRF-Token as GET /api/session says it",
        )


def idle(site: Site) -> timedelta:
    return timedelta(hours=site.settings.session_hours)


def longest(site: Site) -> timedelta:
    return timedelta(days=site.settings.session_days)


def address(request: Request) -> str:
    return request.client.host if request.client else ""


Asking = Annotated[Person | None, Depends(ask)]


def _at_least(role: Role) -> Callable[..., Awaitable[Person]]:
    async def require(person: Asking) -> Person:
        if person is None:
            raise SignInFirst("nobody is signed in, or the session is over", mend="sign in")
        if ROLES.index(person.role) < ROLES.index(role):
            raise Forbidden(f"this is for the role {role}; you have the role {person.role}")
        return person

    return require


AnyOne = Annotated[Person, Depends(_at_least("chat"))]
LabelerUp = Annotated[Person, Depends(_at_least("labeler"))]
ReviewerUp = Annotated[Person, Depends(_at_least("reviewer"))]
AdministratorOnly = Annotated[Person, Depends(_at_least("administrator"))]


async def generating(request: Request, person: AnyOne, site: SiteDep) -> Person:
    """Anyone, but only so often: each such request makes a model work."""
    site.rates.take("generate", f"user {person.id}")
    return person


Generating = Annotated[Person, Depends(generating)]


def page(items: list[Any], offset: int, limit: int) -> dict[str, Any]:
    """A part of a list, as every list is answered."""
    return {"items": items[offset : offset + limit], "total": len(items)}
