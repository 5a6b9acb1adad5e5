"""The first tables, and the triggers that keep what people made from being changed or removed."""

import sqlalchemy as sa
from alembic import op

from amenable.feedback.tables import UtcTime

revision = "0001"
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
    """Make the tables and guard them."""
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


def _make_tables() -> None:
    op.create_table(
        "models",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("run", sa.String(length=200), nullable=True),
        sa.Column("parent_hash", sa.String(length=64), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_models")),
    )
    op.create_index(op.f("ix_models_parent_hash"), "models", ["parent_hash"], unique=False)
    op.create_index(op.f("ix_models_run"), "models", ["run"], unique=False)
    op.create_table(
        "projects",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.create_table(
        "exports",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_exports_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
    )
    op.create_index(op.f("ix_exports_project_id"), "exports", ["project_id"], unique=False)
    op.create_table(
        "guidelines",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_guidelines_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guidelines")),
        sa.UniqueConstraint("project_id", "version", name=op.f("uq_guidelines_project_id_version")),
    )
    op.create_table(
        "members",
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_members_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_members_user_id")),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_members")),
    )
    op.create_index(op.f("ix_members_user_id"), "members", ["user_id"], unique=False)
    op.create_table(
        "messages",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("path_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("purged_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["parent_id"], ["messages.id"], name=op.f("fk_messages_parent_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_messages_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("project_id", "path_hash", name=op.f("uq_messages_project_id_path_hash")),
    )
    op.create_index(op.f("ix_messages_parent_id"), "messages", ["parent_id"], unique=False)
    op.create_table(
        "questionnaires",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("questions", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_questionnaires_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_questionnaires")),
        sa.UniqueConstraint("project_id", "version", name=op.f("uq_questionnaires_project_id_version")),
    )
    op.create_table(
        "snapshots",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("num_records", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_snapshots_project_id")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_snapshots")),
    )
    op.create_index(op.f("ix_snapshots_project_id"), "snapshots", ["project_id"], unique=False)
    op.create_table(
        "prompts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Integer(), nullable=True),
        sa.Column("messages_hash", sa.String(length=64), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=True),
        sa.Column("split", sa.String(length=20), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("references", sa.JSON(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("implied", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("purged_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_prompts_message_id")),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("fk_prompts_owner_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_prompts_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompts")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_prompts_project_id_name")),
    )
    op.create_index(op.f("ix_prompts_message_id"), "prompts", ["message_id"], unique=False)
    op.create_index(op.f("ix_prompts_messages_hash"), "prompts", ["messages_hash"], unique=False)
    op.create_index(op.f("ix_prompts_owner_id"), "prompts", ["owner_id"], unique=False)
    op.create_index(op.f("ix_prompts_project_id"), "prompts", ["project_id"], unique=False)
    op.create_table(
        "run_snapshots",
        sa.Column("run", sa.String(length=200), nullable=False),
        sa.Column("snapshot_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["snapshot_hash"], ["snapshots.hash"], name=op.f("fk_run_snapshots_snapshot_hash")),
        sa.PrimaryKeyConstraint("run", "snapshot_hash", name=op.f("pk_run_snapshots")),
    )
    op.create_index(op.f("ix_run_snapshots_snapshot_hash"), "run_snapshots", ["snapshot_hash"], unique=False)
    op.create_table(
        "generations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_hash", sa.String(length=64), nullable=False),
        sa.Column("sampling", sa.JSON(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("finish", sa.String(length=20), nullable=False),
        sa.Column("logprob", sa.Double(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("purged_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_generations_prompt_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generations")),
    )
    op.create_index(op.f("ix_generations_model_hash"), "generations", ["model_hash"], unique=False)
    op.create_index(op.f("ix_generations_prompt_id"), "generations", ["prompt_id"], unique=False)
    op.create_table(
        "tasks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("purpose", sa.String(length=20), nullable=False),
        sa.Column("picked", sa.String(length=20), nullable=False),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("generations", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_tasks_project_id")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_tasks_prompt_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
    )
    op.create_index(op.f("ix_tasks_project_id_purpose"), "tasks", ["project_id", "purpose"], unique=False)
    op.create_index(op.f("ix_tasks_prompt_id"), "tasks", ["prompt_id"], unique=False)
    op.create_table(
        "assignments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("shown_order", sa.JSON(), nullable=False),
        sa.Column("guideline_id", sa.Integer(), nullable=True),
        sa.Column("questionnaire_id", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("form", sa.JSON(), nullable=True),
        sa.Column("skip_reason", sa.Text(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.Column("active_time_s", sa.Double(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("saved_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["guideline_id"], ["guidelines.id"], name=op.f("fk_assignments_guideline_id")),
        sa.ForeignKeyConstraint(
            ["questionnaire_id"], ["questionnaires.id"], name=op.f("fk_assignments_questionnaire_id")
        ),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_assignments_task_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_assignments_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignments")),
        sa.UniqueConstraint("task_id", "user_id", name=op.f("uq_assignments_task_id_user_id")),
    )
    op.create_index(op.f("ix_assignments_user_id"), "assignments", ["user_id"], unique=False)
    op.create_table(
        "gold_items",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("form", sa.JSON(), nullable=False),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_gold_items_task_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_gold_items_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gold_items")),
        sa.UniqueConstraint("task_id", name=op.f("uq_gold_items_task_id")),
    )
    op.create_table(
        "slots",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task_id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("turn", sa.Double(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("expires_at", UtcTime(), nullable=True),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_slots_project_id")),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_slots_task_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_slots_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slots")),
        sa.UniqueConstraint("task_id", "number", name=op.f("uq_slots_task_id_number")),
        sa.UniqueConstraint("task_id", "user_id", name=op.f("uq_slots_task_id_user_id")),
    )
    op.create_index(op.f("ix_slots_project_id_done_turn"), "slots", ["project_id", "done", "turn"], unique=False)
    op.create_index(op.f("ix_slots_user_id"), "slots", ["user_id"], unique=False)
    op.create_table(
        "annotations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("assignment_id", sa.Integer(), nullable=True),
        sa.Column("guideline_id", sa.Integer(), nullable=True),
        sa.Column("questionnaire_id", sa.Integer(), nullable=True),
        sa.Column("supersedes_id", sa.Integer(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("content_hash", sa.String(length=64), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("purged_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["assignment_id"], ["assignments.id"], name=op.f("fk_annotations_assignment_id")),
        sa.ForeignKeyConstraint(["guideline_id"], ["guidelines.id"], name=op.f("fk_annotations_guideline_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_annotations_project_id")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_annotations_prompt_id")),
        sa.ForeignKeyConstraint(
            ["questionnaire_id"], ["questionnaires.id"], name=op.f("fk_annotations_questionnaire_id")
        ),
        sa.ForeignKeyConstraint(["supersedes_id"], ["annotations.id"], name=op.f("fk_annotations_supersedes_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_annotations_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotations")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_annotations_project_id_name")),
        sa.UniqueConstraint("supersedes_id", name=op.f("uq_annotations_supersedes_id")),
    )
    op.create_index(op.f("ix_annotations_assignment_id"), "annotations", ["assignment_id"], unique=False)
    op.create_index(op.f("ix_annotations_project_id"), "annotations", ["project_id"], unique=False)
    op.create_index(op.f("ix_annotations_prompt_id"), "annotations", ["prompt_id"], unique=False)
    op.create_index(op.f("ix_annotations_user_id"), "annotations", ["user_id"], unique=False)
    op.create_table(
        "answers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("annotation_id", sa.Integer(), nullable=False),
        sa.Column("generation_id", sa.Integer(), nullable=True),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("purged_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["annotation_id"], ["annotations.id"], name=op.f("fk_answers_annotation_id")),
        sa.ForeignKeyConstraint(["generation_id"], ["generations.id"], name=op.f("fk_answers_generation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_answers")),
    )
    op.create_index(op.f("ix_answers_annotation_id"), "answers", ["annotation_id"], unique=False)
    op.create_index(op.f("ix_answers_generation_id"), "answers", ["generation_id"], unique=False)
    op.create_table(
        "chat_feedback",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("annotation_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("generation_id", sa.Integer(), nullable=False),
        sa.Column("other_id", sa.Integer(), nullable=True),
        sa.Column("up", sa.Boolean(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("purged_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["annotation_id"], ["annotations.id"], name=op.f("fk_chat_feedback_annotation_id")),
        sa.ForeignKeyConstraint(["generation_id"], ["generations.id"], name=op.f("fk_chat_feedback_generation_id")),
        sa.ForeignKeyConstraint(["other_id"], ["generations.id"], name=op.f("fk_chat_feedback_other_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_feedback")),
    )
    op.create_index(op.f("ix_chat_feedback_annotation_id"), "chat_feedback", ["annotation_id"], unique=False)
    op.create_index(op.f("ix_chat_feedback_generation_id"), "chat_feedback", ["generation_id"], unique=False)
    op.create_table(
        "comparisons",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("annotation_id", sa.Integer(), nullable=False),
        sa.Column("chosen_id", sa.Integer(), nullable=False),
        sa.Column("rejected_id", sa.Integer(), nullable=False),
        sa.Column("strength", sa.Double(), nullable=True),
        sa.Column("purged_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["annotation_id"], ["annotations.id"], name=op.f("fk_comparisons_annotation_id")),
        sa.ForeignKeyConstraint(["chosen_id"], ["generations.id"], name=op.f("fk_comparisons_chosen_id")),
        sa.ForeignKeyConstraint(["rejected_id"], ["generations.id"], name=op.f("fk_comparisons_rejected_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparisons")),
    )
    op.create_index(op.f("ix_comparisons_annotation_id"), "comparisons", ["annotation_id"], unique=False)
    op.create_index(op.f("ix_comparisons_chosen_id"), "comparisons", ["chosen_id"], unique=False)
    op.create_index(op.f("ix_comparisons_rejected_id"), "comparisons", ["rejected_id"], unique=False)
    op.create_table(
        "demonstrations",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("annotation_id", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("purged_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["annotation_id"], ["annotations.id"], name=op.f("fk_demonstrations_annotation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_demonstrations")),
    )
    op.create_index(op.f("ix_demonstrations_annotation_id"), "demonstrations", ["annotation_id"], unique=False)
    op.create_table(
        "rank_entries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("annotation_id", sa.Integer(), nullable=False),
        sa.Column("generation_id", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("purged_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["annotation_id"], ["annotations.id"], name=op.f("fk_rank_entries_annotation_id")),
        sa.ForeignKeyConstraint(["generation_id"], ["generations.id"], name=op.f("fk_rank_entries_generation_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rank_entries")),
        sa.UniqueConstraint("annotation_id", "place", name=op.f("uq_rank_entries_annotation_id_place")),
    )
    op.create_index(op.f("ix_rank_entries_generation_id"), "rank_entries", ["generation_id"], unique=False)
    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("annotation_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.ForeignKeyConstraint(["annotation_id"], ["annotations.id"], name=op.f("fk_reviews_annotation_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_reviews_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index(op.f("ix_reviews_annotation_id"), "reviews", ["annotation_id"], unique=False)
    op.create_table(
        "snapshot_items",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("snapshot_hash", sa.String(length=64), nullable=False),
        sa.Column("annotation_id", sa.Integer(), nullable=True),
        sa.Column("prompt_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["annotation_id"], ["annotations.id"], name=op.f("fk_snapshot_items_annotation_id")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_snapshot_items_prompt_id")),
        sa.ForeignKeyConstraint(["snapshot_hash"], ["snapshots.hash"], name=op.f("fk_snapshot_items_snapshot_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot_items")),
    )
    op.create_index(op.f("ix_snapshot_items_annotation_id"), "snapshot_items", ["annotation_id"], unique=False)
    op.create_index(op.f("ix_snapshot_items_prompt_id"), "snapshot_items", ["prompt_id"], unique=False)
    op.create_index(
        op.f("ix_snapshot_items_snapshot_hash_annotation_id"),
        "snapshot_items",
        ["snapshot_hash", "annotation_id"],
        unique=False,
    )
