"""Seeds of 64 bits, and of each task which question its labels answer: what its project asks now."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":  # SQLite's integers have room for 64 bits as they are
        op.alter_column("generations", "seed", type_=sa.BigInteger())
    op.execute("ALTER TABLE tasks ADD COLUMN label_question TEXT NOT NULL DEFAULT 'good'")
    settings: sa.ColumnClause[Any] = sa.column("settings", sa.JSON())
    projects = sa.table("projects", sa.column("id"), settings)
    tasks = sa.table("tasks", sa.column("project_id"), sa.column("label_question"))
    for project in op.get_bind().execute(sa.select(projects)).all():
        asked = project.settings.get("label_question", "good")
        op.execute(sa.update(tasks).where(tasks.c.project_id == project.id).values(label_question=asked))
