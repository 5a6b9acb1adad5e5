"""The tables of accounts: who may sign in, by what, and what was done. Of secrets only hashes are kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from amenable.feedback.tables import Table, now


class Account(Table):
    """A person's way in. The person is the row of `users`; its name is what records carry as labeler."""

    __tablename__ = "accounts"
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    role: Mapped[str] = mapped_column(String(20))
    password_hash: Mapped[str]  # argon2; "" where nobody may sign in with it any more
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_seen_at: Mapped[datetime | None]


class SignedIn(Table):
    """A session of a browser: from signing in to signing out or the time's end."""

    __tablename__ = "sessions"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("accounts.user_id"), index=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_seen_at: Mapped[datetime] = mapped_column(default=now)


class Invitation(Table):
    """A link that works once: it makes one account of a role, or gives an account that there is a new password."""

    __tablename__ = "invitations"
    id: Mapped[int] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(20))
    project_id: Mapped[int | None] = mapped_column(ForeignKey("projects.id"))  # that the person joins
    by_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.user_id"))  # None: the command line
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    used_by_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.user_id"))
    renews_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.user_id"))  # whose password; None: a new account


class ApiToken(Table):
    """A secret that programs use in a person's name."""

    __tablename__ = "api_tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("accounts.user_id"), index=True)
    name: Mapped[str]
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AuditEntry(Table):
    """Something that was done to accounts, projects, runs or people's data. Never changed, never removed."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now, index=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))  # who did it; None: nobody signed in
    action: Mapped[str] = mapped_column(String(60))
    detail: Mapped[dict[str, Any]]


class Consent(Table):
    """What a person said about learning from their chats; the newest row counts."""

    __tablename__ = "consents"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("accounts.user_id"), index=True)
    given: Mapped[bool]
    at: Mapped[datetime] = mapped_column(default=now)
