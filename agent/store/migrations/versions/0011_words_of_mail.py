"""New words apart from quoted ones, facts of mails, words of attachments"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('message', sa.Column('spans', postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False))
    op.add_column('message', sa.Column('facts', postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False))
    for name in ('sniffed_type', 'content_id', 'text', 'text_state', 'text_problem'):
        op.add_column('attachment', sa.Column(name, sa.Text(), server_default='', nullable=False))
