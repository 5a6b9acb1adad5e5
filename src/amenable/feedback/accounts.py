"""People's accounts: invitations, passwords and links to new ones, sessions, API tokens, consent, and the audit trail.

Every function works in the caller's transaction. Secrets are 256 random bits and stored as SHA-256; passwords as argon2.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from amenable.errors import ConflictError, StoreError
from amenable.feedback import projects, rows
from amenable.feedback.account_tables import Account, ApiToken, AuditEntry, Consent, Invitation, SignedIn
from amenable.feedback.tables import User, now
from amenable.types import Record

if TYPE_CHECKING:
    from argon2 import PasswordHasher

Role = Literal["chat", "labeler", "reviewer", "administrator"]
ROLES: tuple[Role, ...] = ("chat", "labeler", "reviewer", "administrator")
"""Each may do what those before it may."""
INVITATION_DAYS = 7
NO_LINK = "this link was used or is over"
SHORTEST_PASSWORD, LONGEST_PASSWORD, LONGEST_NAME = 10, 200, 100
SEEN_EVERY = timedelta(minutes=5)
"""How exactly a session's last use is known: a write at every request would be one too many."""
TOKEN_PREFIX = "amenable_"


class NoAccountError(StoreError):
    """Nobody has this account."""


class Person(Record, frozen=True):
    """Somebody who may sign in."""

    id: int
    name: str
    role: Role


# Secrets


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def hasher() -> PasswordHasher:
    """argon2id with the library's settings (RFC 9106, low memory)."""
    from argon2 import PasswordHasher

    return PasswordHasher()


def hash_password(password: str) -> str:
    return hasher().hash(password)


def _is_password(hashed: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return hasher().verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


@lru_cache(maxsize=1)
def _nobodys_hash() -> str:
    return hash_password(new_secret())


def check_name(name: str) -> str:
    """A name as it is kept. Raises StoreError for one that cannot stand on a page or that records use otherwise."""
    name = unicodedata.normalize("NFC", name).strip()
    if not name or len(name) > LONGEST_NAME:
        raise StoreError(f"a name has 1 to {LONGEST_NAME} characters")
    if any(unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for sign in name):
        raise StoreError("a name holds characters that cannot be seen", mend="leave them out")
    if name.lower().startswith("simulated"):
        raise StoreError("names that begin with 'simulated' are those of simulated labelers", mend="choose another")
    return name


def folded(name: str) -> str:
    """A name as typed, without regard to case. Databases are not asked for it: SQLite's lower() knows ASCII alone."""
    return unicodedata.normalize("NFC", name).strip().lower()


def check_password(password: str, name: str) -> None:
    """Raise StoreError for a password that is too short, too long, or the name itself."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise StoreError(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
    if name.lower() in password.lower() and len(password) < len(name) + SHORTEST_PASSWORD:
        raise StoreError("the password is little more than the name", mend="choose another")


# Invitations


def invite(
    connection: sa.Connection,
    role: Role,
    *,
    by: int | None = None,
    project_id: int | None = None,
    days: float = INVITATION_DAYS,
) -> tuple[int, str]:
    """(number, secret) of a new invitation."""
    secret = new_secret()
    values = {"role": role, "by_id": by, "project_id": project_id, "expires_at": now() + timedelta(days=days)}
    number = rows.insert(connection, Invitation, token_hash=hash_secret(secret), **values)
    note(connection, by, "invite", role=role, invitation=number)
    return number, secret


def first_invitation(connection: sa.Connection) -> str | None:
    """The secret of an invitation for the first administrator, the only one that counts; None where there is one."""
    if has_administrator(connection):
        return None
    _void(connection, Invitation.by_id.is_(None), Invitation.role == "administrator", Invitation.renews_id.is_(None))
    return invite(connection, "administrator", days=1)[1]


def invitation(connection: sa.Connection, secret: str) -> sa.Row[Any] | None:
    """A link that can still be used, by its secret. `person`: the name whose password it renews; None: it invites."""
    return connection.execute(
        sa.select(Invitation.__table__, User.name.label("person"))
        .outerjoin(Account, Account.user_id == Invitation.renews_id)
        .outerjoin(User, User.id == Account.user_id)
        .where(Invitation.token_hash == hash_secret(secret), Invitation.used_at.is_(None))
        .where(Invitation.expires_at > now(), sa.or_(Invitation.renews_id.is_(None), Account.active))
    ).one_or_none()


def accept(connection: sa.Connection, secret: str, name: str, password_hash: str) -> Person:
    """Make the account that an invitation stands for. Raises StoreError if it is used up or the name is taken."""
    found = invitation(connection, secret)
    if found is None or found.renews_id is not None:
        raise StoreError(NO_LINK, mend="ask for a new one")
    if folded(name) in {folded(known) for known in connection.execute(sa.select(User.name)).scalars()}:
        raise StoreError("this name is taken", mend="choose another")
    user_id = rows.insert(connection, User, name=name)
    rows.insert(connection, Account, user_id=user_id, role=found.role, password_hash=password_hash)
    _use(connection, found.id, user_id)
    if found.project_id is not None:
        projects.add_member(connection, found.project_id, user_id)
    note(connection, user_id, "accept", invitation=found.id, role=found.role)
    return Person(id=user_id, name=name, role=found.role)


def _use(connection: sa.Connection, number: int, user_id: int) -> None:
    used = sa.update(Invitation).where(Invitation.id == number).values(used_at=now(), used_by_id=user_id)
    connection.execute(used)


def _void(connection: sa.Connection, *which: sa.ColumnElement[bool]) -> None:
    """Let links that nobody used be over."""
    connection.execute(sa.update(Invitation).where(*which, Invitation.used_at.is_(None)).values(expires_at=now()))


def has_administrator(connection: sa.Connection) -> bool:
    found = sa.select(Account.user_id).where(Account.role == "administrator", Account.active)
    return connection.execute(found.limit(1)).first() is not None


# Lost passwords


def number_of(connection: sa.Connection, name: str) -> int:
    """The number of the account of a name. Raises NoAccountError that names the administrators, who can do the rest."""
    known = connection.execute(
        sa.select(User.id, User.name, Account.role).join(Account, Account.user_id == User.id)
    ).all()
    for user in known:
        if folded(user.name) == folded(name):
            return int(user.id)
    administrators = ", ".join(user.name for user in known if user.role == "administrator")
    mend = (
        f"the administrators are {administrators}" if administrators else "the start of `amenable serve` prints a link"
    )
    raise NoAccountError(f"nobody called {name!r} has an account", mend=mend)


def password_link(
    connection: sa.Connection, user_id: int, *, by: int | None = None, days: float = INVITATION_DAYS
) -> tuple[int, str]:
    """(number, secret) of a link by which one person chooses a new password; those made for them before are over.

    Raises NoAccountError where there is none, ConflictError for one that is closed or erased.
    """
    found = connection.execute(sa.select(Account.role, Account.active).where(Account.user_id == user_id)).first()
    if found is None:
        raise NoAccountError("there is no such account")
    if not found.active:
        raise ConflictError("this account is closed", mend="open it first, or invite the person again")
    void_password_links(connection, user_id)
    secret = new_secret()
    values = {"role": found.role, "by_id": by, "renews_id": user_id, "expires_at": now() + timedelta(days=days)}
    number = rows.insert(connection, Invitation, token_hash=hash_secret(secret), **values)
    note(connection, by, "password link", user=user_id, invitation=number)
    return number, secret


def void_password_links(connection: sa.Connection, user_id: int) -> None:
    """Let a person's unused links to a new password be over."""
    _void(connection, Invitation.renews_id == user_id)


def renew_password(connection: sa.Connection, secret: str, password_hash: str) -> Person:
    """Change a password by a link and sign the person out everywhere. Raises StoreError if the link is used up."""
    found = invitation(connection, secret)
    if found is None or found.renews_id is None:
        raise StoreError(NO_LINK, mend="ask for a new one")
    _use(connection, found.id, found.renews_id)
    set_password(connection, found.renews_id, password_hash, invitation=found.id)
    account = connection.execute(sa.select(Account.role).where(Account.user_id == found.renews_id)).one()
    return Person(id=found.renews_id, name=found.person, role=account.role)


# Signing in


def password_of(connection: sa.Connection, name: str) -> tuple[Person | None, str]:
    """(the person of a name, what their password hashes to); for nobody a hash that nothing fits."""
    everybody = connection.execute(
        sa.select(User.id, User.name, Account.role, Account.password_hash)
        .join(Account, Account.user_id == User.id)
        .where(Account.active, Account.password_hash != "")
    )
    found = next((row for row in everybody.all() if folded(row.name) == folded(name)), None)
    if found is None:
        return None, _nobodys_hash()
    return Person(id=found.id, name=found.name, role=found.role), found.password_hash


def fits(password_hash: str, password: str) -> bool:
    """Whether a password is the one. Takes its time, so not within a transaction."""
    return _is_password(password_hash, password)


def begin_session(connection: sa.Connection, user_id: int) -> str:
    """The secret of a new session."""
    secret = new_secret()
    rows.insert(connection, SignedIn, user_id=user_id, token_hash=hash_secret(secret))
    connection.execute(sa.update(Account).where(Account.user_id == user_id).values(last_seen_at=now()))
    return secret


def session(
    connection: sa.Connection, secret: str, *, idle: timedelta, longest: timedelta
) -> tuple[Person, bool] | None:
    """(whose session it is, whether its last use should be noted), unless it is over."""
    found = connection.execute(
        sa.select(User.id, User.name, Account.role, SignedIn.created_at, SignedIn.last_seen_at)
        .join(Account, Account.user_id == User.id)
        .join(SignedIn, SignedIn.user_id == User.id)
        .where(SignedIn.token_hash == hash_secret(secret), Account.active)
    ).first()
    time = now()
    if found is None or time - found.last_seen_at > idle or time - found.created_at > longest:
        return None
    return Person(id=found.id, name=found.name, role=found.role), time - found.last_seen_at > SEEN_EVERY


def seen(connection: sa.Connection, secret: str, user_id: int) -> None:
    """Note that a session was used."""
    connection.execute(sa.update(SignedIn).where(SignedIn.token_hash == hash_secret(secret)).values(last_seen_at=now()))
    connection.execute(sa.update(Account).where(Account.user_id == user_id).values(last_seen_at=now()))


def end_session(connection: sa.Connection, secret: str) -> None:
    connection.execute(sa.delete(SignedIn).where(SignedIn.token_hash == hash_secret(secret)))


def end_sessions(connection: sa.Connection, user_id: int) -> None:
    """Sign a person out everywhere."""
    connection.execute(sa.delete(SignedIn).where(SignedIn.user_id == user_id))


def sweep(connection: sa.Connection, *, longest: timedelta) -> None:
    """Remove sessions that are over."""
    connection.execute(sa.delete(SignedIn).where(SignedIn.created_at < now() - longest))


def set_password(connection: sa.Connection, user_id: int, password_hash: str, *, invitation: int | None = None) -> None:
    """Change a password, by a link or by the old one. It ends the person's sessions and links, but no API token."""
    connection.execute(sa.update(Account).where(Account.user_id == user_id).values(password_hash=password_hash))
    end_sessions(connection, user_id)
    void_password_links(connection, user_id)
    note(connection, user_id, "password", **({} if invitation is None else {"invitation": invitation}))


# API tokens


def new_token(connection: sa.Connection, user_id: int, name: str) -> tuple[int, str]:
    """(number, secret) of a new API token."""
    secret = TOKEN_PREFIX + new_secret()
    number = rows.insert(connection, ApiToken, user_id=user_id, name=name, token_hash=hash_secret(secret))
    note(connection, user_id, "token", token=number)
    return number, secret


def token(connection: sa.Connection, secret: str) -> tuple[Person, int, datetime | None] | None:
    """(whose API token it is, its number, when it was last used), unless it was revoked."""
    found = connection.execute(
        sa.select(User.id, User.name, Account.role, ApiToken.id.label("token"), ApiToken.last_used_at)
        .join(Account, Account.user_id == User.id)
        .join(ApiToken, ApiToken.user_id == User.id)
        .where(ApiToken.token_hash == hash_secret(secret), ApiToken.revoked_at.is_(None), Account.active)
    ).first()
    if found is None:
        return None
    return Person(id=found.id, name=found.name, role=found.role), found.token, found.last_used_at


def use_token(connection: sa.Connection, number: int) -> None:
    """Note that an API token was used."""
    connection.execute(sa.update(ApiToken).where(ApiToken.id == number).values(last_used_at=now()))


def revoke_token(connection: sa.Connection, user_id: int, number: int) -> bool:
    """Make a person's token useless. False if there is no such one of theirs."""
    own = sa.update(ApiToken).where(ApiToken.id == number, ApiToken.user_id == user_id, ApiToken.revoked_at.is_(None))
    done = connection.execute(own.values(revoked_at=now())).rowcount > 0
    if done:
        note(connection, user_id, "revoke token", token=number)
    return done


# Consent


def consent(connection: sa.Connection, user_id: int) -> tuple[bool, datetime | None]:
    """(whether a person lets models learn from their chats, since when)."""
    newest = sa.select(Consent.given, Consent.at).where(Consent.user_id == user_id).order_by(Consent.id.desc()).limit(1)
    found = connection.execute(newest).first()
    return (found.given, found.at) if found is not None else (False, None)


def set_consent(connection: sa.Connection, user_id: int, given: bool) -> None:
    rows.insert(connection, Consent, user_id=user_id, given=given)
    note(connection, user_id, "consent", given=given)


# The trail, and the end


def note(connection: sa.Connection, user_id: int | None, action: str, **detail: Any) -> None:
    """Add to the audit trail. detail: numbers and kinds, no content and no secrets."""
    rows.insert(connection, AuditEntry, user_id=user_id, action=action, detail=detail)


def erase(connection: sa.Connection, user_id: int) -> None:
    """Take a person's ways in away for good; part of a purge. What they did stays in the audit trail, by number."""
    end_sessions(connection, user_id)
    void_password_links(connection, user_id)
    tokens = sa.update(ApiToken).where(ApiToken.user_id == user_id)
    connection.execute(tokens.values(revoked_at=sa.func.coalesce(ApiToken.revoked_at, now()), name=""))
    connection.execute(sa.update(Account).where(Account.user_id == user_id).values(active=False, password_hash=""))
