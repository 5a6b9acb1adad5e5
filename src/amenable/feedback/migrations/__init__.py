"""Alembic migrations of the feedback database, applied when it is opened (feedback/database.py)."""
