"""Two answers drawn to choose from in a chat, and what was chosen."""

import sqlalchemy as sa
from alembic import op

from amenable.feedback.tables import UtcTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "answer_pairs",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("conversation_id", sa.Integer(), sa.ForeignKey("conversations.id"), nullable=False, index=True),
        sa.Column("first_id", sa.Integer(), sa.ForeignKey("turns.id"), nullable=False),
        sa.Column("second_id", sa.Integer(), sa.ForeignKey("turns.id"), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
    )
    op.create_table(
        "answer_choices",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("conversation_id", sa.Integer(), sa.ForeignKey("conversations.id"), nullable=False, index=True),
        sa.Column("chosen_id", sa.Integer(), sa.ForeignKey("turns.id"), nullable=False),
        sa.Column("over_id", sa.Integer(), sa.ForeignKey("turns.id"), nullable=False),
        sa.Column("annotation_id", sa.Integer(), sa.ForeignKey("annotations.id")),
        sa.Column("created_at", UtcTime(), nullable=False),
    )
