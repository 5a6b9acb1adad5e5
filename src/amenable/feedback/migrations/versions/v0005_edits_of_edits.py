"""Of an edited answer in a chat: which answer of a model it words anew, and the annotation that says so."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """In SQL that both databases read, as 0004 is."""
    for column, key in (("edits_id", "turns (id)"), ("edit_annotation_id", "annotations (id)")):
        op.execute(f"ALTER TABLE turns ADD COLUMN {column} INTEGER CONSTRAINT fk_turns_{column} REFERENCES {key}")
