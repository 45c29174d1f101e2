"""Attached files whose words were not read yet are found at once."""

import sqlalchemy as sa
from alembic import op

revision = '0019'
down_revision = '0018'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index('ix_attachment_unread', 'attachment', ['interaction_id'], unique=False, postgresql_where=sa.text("text_state = ''"))
