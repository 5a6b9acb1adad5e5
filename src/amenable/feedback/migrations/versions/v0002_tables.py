"""The first tables, and the triggers that keep what people made, and the audit trail, from being changed or removed."""

import sqlalchemy as sa
from alembic import op

from amenable.feedback.tables import UtcTime

revision = "0002"  # the number that databases made before any release carry
down_revision = None

KEPT = (
    "prompts",
    "messages",
    "generations",
    "annotations",
    "answers",
    "rank_entries",
    "comparisons",
    "demonstrations",
    "chat_feedback",
)


def upgrade() -> None:
    """Make the tables and guard them. Names of keys and indexes follow the convention of feedback/tables.py."""
    _make_tables()
    if op.get_bind().dialect.name == "sqlite":
        _guard_sqlite()
    else:
        _guard_postgresql()


def _guard_sqlite() -> None:
    for table in KEPT:
        op.execute(
            f"CREATE TRIGGER {table}_kept BEFORE UPDATE ON {table} "
            "WHEN NEW.purged_at IS NULL OR OLD.purged_at IS NOT NULL "
            f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
        )
        op.execute(
            f"CREATE TRIGGER {table}_stays BEFORE DELETE ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never removed'); END"
        )
    for event in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_no_{event.lower()} BEFORE {event} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit trail is only added to'); END"
        )


def _guard_postgresql() -> None:
    op.execute(
        """
        CREATE FUNCTION amenable_keep() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' AND NEW.purged_at IS NOT NULL AND OLD.purged_at IS NULL THEN RETURN NEW; END IF;
            RAISE EXCEPTION 'rows of % are never changed or removed', TG_TABLE_NAME;
        END $$
        """
    )
    for table in KEPT:
        op.execute(
            f"CREATE TRIGGER {table}_kept BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION amenable_keep()"
        )
    op.execute(
        "CREATE FUNCTION amenable_only_added() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'rows of % are only added', TG_TABLE_NAME; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_kept BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION amenable_only_added()"
    )


def _make_tables() -> None:
    op.create_table(
        "models",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("run", sa.String(200), index=True),
        sa.Column("parent_hash", sa.String(64), index=True),
        sa.Column("created_at", UtcTime(), nullable=False),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False, unique=True),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
    )
    op.create_table(
        "accounts",
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("last_seen_at", UtcTime()),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("at", UtcTime(), nullable=False, index=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id")),
        sa.Column("action", sa.String(60), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
    )
    op.create_table(
        "exports",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), nullable=False, index=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
    )
    op.create_table(
        "guidelines",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.UniqueConstraint("project_id", "version"),
    )
    op.create_table(
        "members",
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id"), primary_key=True, index=True),
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("parent_id", sa.Integer(), sa.ForeignKey("messages.id"), index=True),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("path_hash", sa.String(64), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("purged_at", UtcTime()),
        sa.UniqueConstraint("project_id", "path_hash"),
    )
    op.create_table(
        "questionnaires",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("questions", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.UniqueConstraint("project_id", "version"),
    )
    op.create_table(
        "snapshots",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), nullable=False, index=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("num_records", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("accounts.user_id"), nullable=False, index=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("last_used_at", UtcTime()),
        sa.Column("revoked_at", UtcTime()),
    )
    op.create_table(
        "battles",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("accounts.user_id"), nullable=False, index=True),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("model_a", sa.Text(), nullable=False),
        sa.Column("model_b", sa.Text(), nullable=False),
        sa.Column("completion_a", sa.JSON(), nullable=False),
        sa.Column("completion_b", sa.JSON(), nullable=False),
        sa.Column("winner", sa.String(10)),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("voted_at", UtcTime()),
    )
    op.create_table(
        "consents",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("accounts.user_id"), nullable=False, index=True),
        sa.Column("given", sa.Boolean(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
    )
    op.create_table(
        "conversations",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("accounts.user_id"), nullable=False, index=True),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("leaf_id", sa.Integer()),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
    )
    op.create_table(
        "invitations",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id")),
        sa.Column("by_id", sa.Integer(), sa.ForeignKey("accounts.user_id")),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("used_at", UtcTime()),
        sa.Column("used_by_id", sa.Integer(), sa.ForeignKey("accounts.user_id")),
    )
    op.create_table(
        "presets",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("accounts.user_id"), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.UniqueConstraint("user_id", "name"),
    )
    op.create_table(
        "prompts",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), nullable=False, index=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Integer(), sa.ForeignKey("messages.id"), index=True),
        sa.Column("messages_hash", sa.String(64), nullable=False, index=True),
        sa.Column("owner_id", sa.Integer(), sa.ForeignKey("users.id"), index=True),
        sa.Column("split", sa.String(20), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("references", sa.JSON(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("implied", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("purged_at", UtcTime()),
        sa.UniqueConstraint("project_id", "name"),
    )
    op.create_table(
        "run_snapshots",
        sa.Column("run", sa.String(200), primary_key=True),
        sa.Column("snapshot_hash", sa.String(64), sa.ForeignKey("snapshots.hash"), primary_key=True, index=True),
        sa.Column("created_at", UtcTime(), nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("accounts.user_id"), nullable=False, index=True),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("last_seen_at", UtcTime(), nullable=False),
    )
    op.create_table(
        "shares",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("key", sa.String(43), nullable=False, unique=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("accounts.user_id"), nullable=False, index=True),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
    )
    op.create_table(
        "generations",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("prompt_id", sa.Integer(), sa.ForeignKey("prompts.id"), nullable=False, index=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_hash", sa.String(64), nullable=False, index=True),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.Column("seed", sa.Integer()),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("finish", sa.String(20), nullable=False),
        sa.Column("logprob", sa.Double()),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("purged_at", UtcTime()),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("prompt_id", sa.Integer(), sa.ForeignKey("prompts.id"), nullable=False, index=True),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("purpose", sa.String(20), nullable=False),
        sa.Column("picked", sa.String(20), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("generations", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Index(None, "project_id", "purpose"),
    )
    op.create_table(
        "assignments",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("task_id", sa.Integer(), sa.ForeignKey("tasks.id"), nullable=False),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id"), nullable=False, index=True),
        sa.Column("shown_order", sa.JSON(), nullable=False),
        sa.Column("guideline_id", sa.Integer(), sa.ForeignKey("guidelines.id")),
        sa.Column("questionnaire_id", sa.Integer(), sa.ForeignKey("questionnaires.id")),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("form", sa.JSON()),
        sa.Column("skip_reason", sa.Text(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("active_time_s", sa.Double(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("saved_at", UtcTime()),
        sa.UniqueConstraint("task_id", "user_id"),
    )
    op.create_table(
        "gold_items",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("task_id", sa.Integer(), sa.ForeignKey("tasks.id"), nullable=False, unique=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id"), nullable=False),
        sa.Column("form", sa.JSON(), nullable=False),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
    )
    op.create_table(
        "slots",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("task_id", sa.Integer(), sa.ForeignKey("tasks.id"), nullable=False),
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("turn", sa.Double(), nullable=False),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id"), index=True),
        sa.Column("expires_at", UtcTime()),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.UniqueConstraint("task_id", "number"),
        sa.UniqueConstraint("task_id", "user_id"),
        sa.Index(None, "project_id", "done", "turn"),
    )
    op.create_table(
        "annotations",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("project_id", sa.Integer(), sa.ForeignKey("projects.id"), nullable=False, index=True),
        sa.Column("prompt_id", sa.Integer(), sa.ForeignKey("prompts.id"), nullable=False, index=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id"), index=True),
        sa.Column("assignment_id", sa.Integer(), sa.ForeignKey("assignments.id"), index=True),
        sa.Column("guideline_id", sa.Integer(), sa.ForeignKey("guidelines.id")),
        sa.Column("questionnaire_id", sa.Integer(), sa.ForeignKey("questionnaires.id")),
        sa.Column("supersedes_id", sa.Integer(), sa.ForeignKey("annotations.id"), unique=True),
        sa.Column("name", sa.Text()),
        sa.Column("content_hash", sa.String(64)),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("purged_at", UtcTime()),
        sa.UniqueConstraint("project_id", "name"),
    )
    op.create_table(
        "answers",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("annotation_id", sa.Integer(), sa.ForeignKey("annotations.id"), nullable=False, index=True),
        sa.Column("generation_id", sa.Integer(), sa.ForeignKey("generations.id"), index=True),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("value", sa.JSON()),
        sa.Column("low", sa.Double()),
        sa.Column("high", sa.Double()),
        sa.Column("purged_at", UtcTime()),
    )
    op.create_table(
        "chat_feedback",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("annotation_id", sa.Integer(), sa.ForeignKey("annotations.id"), nullable=False, index=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("generation_id", sa.Integer(), sa.ForeignKey("generations.id"), nullable=False, index=True),
        sa.Column("other_id", sa.Integer(), sa.ForeignKey("generations.id")),
        sa.Column("up", sa.Boolean()),
        sa.Column("text", sa.Text()),
        sa.Column("purged_at", UtcTime()),
    )
    op.create_table(
        "comparisons",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("annotation_id", sa.Integer(), sa.ForeignKey("annotations.id"), nullable=False, index=True),
        sa.Column("chosen_id", sa.Integer(), sa.ForeignKey("generations.id"), nullable=False, index=True),
        sa.Column("rejected_id", sa.Integer(), sa.ForeignKey("generations.id"), nullable=False, index=True),
        sa.Column("strength", sa.Double()),
        sa.Column("purged_at", UtcTime()),
    )
    op.create_table(
        "demonstrations",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("annotation_id", sa.Integer(), sa.ForeignKey("annotations.id"), nullable=False, index=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("purged_at", UtcTime()),
    )
    op.create_table(
        "rank_entries",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("annotation_id", sa.Integer(), sa.ForeignKey("annotations.id"), nullable=False),
        sa.Column("generation_id", sa.Integer(), sa.ForeignKey("generations.id"), nullable=False, index=True),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("purged_at", UtcTime()),
        sa.UniqueConstraint("annotation_id", "place"),
    )
    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("annotation_id", sa.Integer(), sa.ForeignKey("annotations.id"), nullable=False, index=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id"), nullable=False),
        sa.Column("verdict", sa.String(20), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
    )
    op.create_table(
        "snapshot_items",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("snapshot_hash", sa.String(64), sa.ForeignKey("snapshots.hash"), nullable=False),
        sa.Column("annotation_id", sa.Integer(), sa.ForeignKey("annotations.id"), index=True),
        sa.Column("prompt_id", sa.Integer(), sa.ForeignKey("prompts.id"), index=True),
        sa.Index(None, "snapshot_hash", "annotation_id"),
    )
    op.create_table(
        "turns",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("conversation_id", sa.Integer(), sa.ForeignKey("conversations.id"), nullable=False, index=True),
        sa.Column("parent_id", sa.Integer(), sa.ForeignKey("turns.id")),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("completion", sa.JSON(), nullable=False),
        sa.Column("edited", sa.Boolean(), nullable=False),
        sa.Column("thumb", sa.Boolean()),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("remark", sa.Text(), nullable=False),
        sa.Column("generation_id", sa.Integer(), sa.ForeignKey("generations.id")),
        sa.Column("thumb_annotation_id", sa.Integer(), sa.ForeignKey("annotations.id")),
        sa.Column("created_at", UtcTime(), nullable=False),
    )
