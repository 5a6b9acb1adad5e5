"""Routes of accounts: the session, signing in and out, invitations, people, lost passwords, API tokens, consent, the audit trail."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, Path, Request, Response
from sqlalchemy.orm import aliased

from amenable.errors import StoreError
from amenable.feedback import accounts, own
from amenable.feedback.account_tables import Account, ApiToken, AuditEntry, Invitation
from amenable.feedback.accounts import Person, Role
from amenable.feedback.database import reading, writing
from amenable.feedback.tables import Project, User, now
from amenable.server import access
from amenable.server.access import AdministratorOnly, AnyOne, Asking, ReviewerUp
from amenable.server.bodies import Body, Id, Json, Limit, Named, Offset, Secret, Short
from amenable.server.errors import Conflict, Forbidden, NotFound
from amenable.server.site import Site, SiteDep
from amenable.stages.purge import purge

router = APIRouter(prefix="/api", tags=["people"])
InvitationSecret = Annotated[str, Path(min_length=1, max_length=200)]


class Entry(Body):
    """A name and its password."""

    name: Named
    password: Secret


class Acceptance(Body):
    """What a link asks for. name: the new account's; an account that there is keeps its own."""

    name: Named | None = None
    password: Secret


class NewPassword(Body):
    old: Secret
    new: Secret


class NewInvitation(Body):
    role: Role
    project: Short | None = None


class Change(Body):
    role: Role | None = None
    active: bool | None = None


class Name(Body):
    name: Named


# The session


@router.get("/session")
def session(request: Request, response: Response, person: Asking, site: SiteDep) -> Json:
    """Who is signed in, and what unsafe requests must send as X-CSRF-Token."""
    secret = (
        access.session_secret(request, site) if person else request.cookies.get(access.cookie(site, access.VISITOR))
    )
    return _session(response, site, person, secret)


def _session(response: Response, site: Site, person: Person | None, secret: str | None) -> Json:
    if person is None:
        access.drop_cookie(response, site, access.SESSION)
        if not secret:
            secret = accounts.new_secret()
            access.set_cookie(response, site, access.VISITOR, secret)
    assert secret is not None
    with reading(site.engine) as connection:
        first_start = not accounts.has_administrator(connection)
        given, at = accounts.consent(connection, person.id) if person else (False, None)
    return {
        "user": None if person is None else {"id": person.id, "name": person.name, "role": person.role},
        "csrf": access.csrf_of(secret),
        "workspace": site.workspace.root.name,
        "first_start": first_start,
        "consent": {"given": given, "at": at},
    }


@router.post("/sign-in")
def sign_in(request: Request, response: Response, entry: Entry, person: Asking, site: SiteDep) -> Json:
    """Begin a session."""
    site.rates.take("sign_in", f"address {access.address(request)}")
    site.rates.take("sign_in", f"name {accounts.folded(entry.name)}")
    with reading(site.engine) as connection:
        found, password_hash = accounts.password_of(connection, entry.name)
    if not accounts.fits(password_hash, entry.password) or found is None:
        with writing(site.engine) as connection:
            accounts.note(connection, None, "sign-in refused", address=access.address(request))
        raise Forbidden("name and password do not fit")
    return _begin(request, response, site, found)


def _begin(request: Request, response: Response, site: Site, person: Person) -> Json:
    """A fresh session for a person; the one that the browser had is over."""
    with writing(site.engine) as connection:
        if before := access.session_secret(request, site):
            accounts.end_session(connection, before)
        accounts.sweep(connection, longest=access.longest(site))
        secret = accounts.begin_session(connection, person.id)
        accounts.note(connection, person.id, "sign in")
    access.set_cookie(response, site, access.SESSION, secret, days=site.settings.session_days)
    access.drop_cookie(response, site, access.VISITOR)
    return _session(response, site, person, secret)


@router.post("/sign-out")
def sign_out(request: Request, response: Response, person: AnyOne, site: SiteDep) -> Json:
    """End this session."""
    with writing(site.engine) as connection:
        accounts.end_session(connection, access.session_secret(request, site))
        accounts.note(connection, person.id, "sign out")
    return _session(response, site, None, None)


@router.post("/account/password")
def password(request: Request, response: Response, change: NewPassword, person: AnyOne, site: SiteDep) -> Json:
    """Change one's password. Every other session of the person ends."""
    site.rates.take("sign_in", f"name {accounts.folded(person.name)}")
    with reading(site.engine) as connection:
        _, before = accounts.password_of(connection, person.name)
    if not accounts.fits(before, change.old):
        raise Forbidden("the old password is another")
    accounts.check_password(change.new, person.name)
    hashed = accounts.hash_password(change.new)
    with writing(site.engine) as connection:
        accounts.set_password(connection, person.id, hashed)
    return _begin(request, response, site, person)


@router.get("/account/data")
def own_data(person: AnyOne, site: SiteDep) -> Response:
    """Everything that is kept of the caller, as a file to take along."""
    with writing(site.engine) as connection:
        accounts.note(connection, person.id, "take own data")
    with reading(site.engine) as connection:
        found = own.kept_of(connection, person)
    headers = {"content-disposition": 'attachment; filename="amenable-my-data.json"'}
    return Response(msgspec.json.format(msgspec.json.encode(found)), media_type="application/json", headers=headers)


# Invitations


@router.get("/invitations/{secret}")
def invitation(secret: InvitationSecret, person: Asking, site: SiteDep) -> Json:
    """What a link offers: an account, or to `person` a new password. 404 where it was used, is over, or never was."""
    with reading(site.engine) as connection:
        found = accounts.invitation(connection, secret)
        if found is None:
            raise NotFound(accounts.NO_LINK, mend="ask for a new one")
        project = connection.execute(sa.select(Project.name).where(Project.id == found.project_id)).scalar()
    return {"role": found.role, "project": project, "person": found.person, "expires_at": found.expires_at}


@router.post("/invitations/{secret}")
def accept(
    request: Request, response: Response, secret: InvitationSecret, entry: Acceptance, person: Asking, site: SiteDep
) -> Json:
    """Make the account of an invitation, or change the password of the person whom the link is for, and sign in."""
    site.rates.take("sign_in", f"address {access.address(request)}")
    whose = invitation(secret, person, site)["person"]  # before the password is hashed, which takes a while
    if (whose is None) == (entry.name is None):
        raise StoreError("an invitation wants a name; a link to a new password keeps the one that there is")
    name = whose if entry.name is None else accounts.check_name(entry.name)
    accounts.check_password(entry.password, name)
    hashed = accounts.hash_password(entry.password)
    with writing(site.engine) as connection:
        if whose is None:
            found = accounts.accept(connection, secret, name, hashed)
        else:
            found = accounts.renew_password(connection, secret, hashed)
    return _begin(request, response, site, found)


@router.get("/invitations")
def invitations(person: AdministratorOnly, site: SiteDep) -> Json:
    """The links that can still be used. person: whose password one renews; null: it makes an account."""
    columns = (Invitation.id, Invitation.role, Invitation.created_at, Invitation.expires_at)
    renewed = aliased(User)
    with reading(site.engine) as connection:
        found = connection.execute(
            sa.select(*columns, Project.name.label("project"), User.name.label("by"), renewed.name.label("person"))
            .outerjoin(Project, Project.id == Invitation.project_id)
            .outerjoin(renewed, renewed.id == Invitation.renews_id)
            .outerjoin(User, User.id == Invitation.by_id)
            .where(Invitation.used_at.is_(None), Invitation.expires_at > now())
            .order_by(Invitation.id.desc())
        ).mappings()
        items = [dict(row) for row in found]
    return {"items": items, "total": len(items)}


@router.post("/invitations", status_code=201)
def invite(new: NewInvitation, person: AdministratorOnly, site: SiteDep) -> Json:
    """Make a link that makes one account."""
    with writing(site.engine) as connection:
        project_id = None
        if new.project is not None:
            project_id = connection.execute(sa.select(Project.id).where(Project.name == new.project)).scalar()
            if project_id is None:
                raise NotFound(f"there is no project named {new.project!r}")
        number, secret = accounts.invite(connection, new.role, by=person.id, project_id=project_id)
        found = accounts.invitation(connection, secret)
    assert found is not None
    return {"id": number, "link": f"/invite/{secret}", "role": new.role, "expires_at": found.expires_at}


@router.delete("/invitations/{number}")
def withdraw(number: Id, person: AdministratorOnly, site: SiteDep) -> Json:
    """Make an invitation useless."""
    with writing(site.engine) as connection:
        open_ = sa.update(Invitation).where(Invitation.id == number, Invitation.used_at.is_(None))
        if connection.execute(open_.values(expires_at=now())).rowcount == 0:
            raise NotFound("there is no such invitation that can still be used")
        accounts.note(connection, person.id, "withdraw invitation", invitation=number)
    return {}


# People


@router.get("/users")
def users(person: ReviewerUp, site: SiteDep) -> list[Json]:
    """Everybody with an account."""
    with reading(site.engine) as connection:
        found = connection.execute(
            sa.select(
                User.id,
                User.name,
                Account.role,
                Account.active,
                Account.created_at,
                Account.last_seen_at.label("last_seen"),
            )
            .join(Account, Account.user_id == User.id)
            .order_by(User.id)
        ).mappings()
        return [dict(row) for row in found]


@router.patch("/users/{number}")
def change(number: Id, change: Change, person: AdministratorOnly, site: SiteDep) -> Json:
    """Give a person another role, or bar and admit them. One administrator must remain."""
    values = change.model_dump(exclude_none=True)
    with writing(site.engine) as connection:
        known = connection.execute(sa.select(Account.password_hash).where(Account.user_id == number)).scalar()
        if known is None:
            raise NotFound("there is no such account")
        if change.active and not known:
            raise Conflict("this account was erased and cannot come back", mend="invite the person again")
        if values:
            connection.execute(sa.update(Account).where(Account.user_id == number).values(**values))
        if not accounts.has_administrator(connection):
            raise Conflict("no administrator would remain", mend="make another one first")
        if change.active is False:
            accounts.end_sessions(connection, number)
            accounts.void_password_links(connection, number)
        accounts.note(connection, person.id, "change account", user=number, **values)
    return next(user for user in users(person, site) if user["id"] == number)


@router.post("/users/{number}/password-link", status_code=201)
def password_link(number: Id, person: AdministratorOnly, site: SiteDep) -> Json:
    """Make a link by which that person chooses a new password; one made before is over. Nobody's own: /account asks for
    the old password, and a browser left open must not do without it."""
    if number == person.id:
        raise Conflict("nobody makes this link for themselves", mend="change your password under Account")
    with writing(site.engine) as connection:
        made, secret = accounts.password_link(connection, number, by=person.id)
        found = accounts.invitation(connection, secret)
    assert found is not None
    return {"id": made, "link": f"/invite/{secret}", "person": found.person, "expires_at": found.expires_at}


@router.post("/users/{number}/purge")
def erase(number: Id, person: AdministratorOnly, site: SiteDep) -> Json:
    """Erase everything of a person, here and in the workspace's files; the models that learned from them are named."""
    if number == person.id:
        raise Conflict("nobody erases themselves", mend="let another administrator do it")
    with reading(site.engine) as connection:
        name = connection.execute(sa.select(User.name).where(User.id == number)).scalar()
    if name is None:
        raise NotFound("there is no such person")
    done = purge(site.workspace, name)
    with writing(site.engine) as connection:
        accounts.note(connection, person.id, "purge", person=number)
    return {
        "erased": sum(done.rows.values()),
        "models": [model or digest[:12] for model, digest in done.models],
        "changed": len(done.changed),
        "removed": len(done.removed),
        "missing": list(done.missing),
    }


# API tokens


@router.get("/tokens")
def tokens(person: AnyOne, site: SiteDep) -> Json:
    """One's own API tokens, without their secrets."""
    columns = (ApiToken.id, ApiToken.name, ApiToken.created_at, ApiToken.last_used_at)
    own = sa.select(*columns).where(ApiToken.user_id == person.id, ApiToken.revoked_at.is_(None))
    with reading(site.engine) as connection:
        items = [dict(row) for row in connection.execute(own.order_by(ApiToken.id)).mappings()]
    return {"items": items, "total": len(items)}


@router.post("/tokens", status_code=201)
def new_token(new: Name, person: AnyOne, site: SiteDep) -> Json:
    """Make an API token. Its secret is shown this once."""
    with writing(site.engine) as connection:
        number, secret = accounts.new_token(connection, person.id, new.name)
    return {"id": number, "name": new.name, "token": secret}


@router.delete("/tokens/{number}")
def revoke(number: Id, person: AnyOne, site: SiteDep) -> Json:
    """Make an API token of one's own useless."""
    with writing(site.engine) as connection:
        if not accounts.revoke_token(connection, person.id, number):
            raise NotFound("you have no such API token")
    return {}


# The audit trail


@router.get("/audit")
def audit(person: AdministratorOnly, site: SiteDep, offset: Offset = 0, limit: Limit = 100) -> Json:
    """What was done, newest first."""
    columns = (AuditEntry.id, AuditEntry.at, AuditEntry.action, AuditEntry.detail, User.name.label("user"))
    with reading(site.engine) as connection:
        total = connection.execute(sa.select(sa.func.count()).select_from(AuditEntry)).scalar()
        found = connection.execute(
            sa.select(*columns)
            .outerjoin(User, User.id == AuditEntry.user_id)
            .order_by(AuditEntry.id.desc())
            .offset(offset)
            .limit(limit)
        ).mappings()
        items: list[dict[str, Any]] = [dict(row) for row in found]
    return {"items": items, "total": total}
