"""Alembic's entry: runs on the connection that feedback/database.py hands over, inside its transaction."""

from alembic import context

from amenable.feedback.tables import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata)
context.run_migrations()
