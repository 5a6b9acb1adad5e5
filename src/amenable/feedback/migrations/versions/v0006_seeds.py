"""Seeds of 64 bits. SQLite's integers have room for them as they are."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("generations", "seed", type_=sa.BigInteger())
