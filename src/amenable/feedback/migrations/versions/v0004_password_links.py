"""Invitations that give an account which there is a new password."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """In SQL that both databases read: Alembic would make a column with a key in two steps, of which SQLite knows one."""
    key = "CONSTRAINT fk_invitations_renews_id REFERENCES accounts (user_id)"
    op.execute(f"ALTER TABLE invitations ADD COLUMN renews_id INTEGER {key}")
