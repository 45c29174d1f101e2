"""Comments are found; the newest clients by an index"""

import sqlalchemy as sa
from alembic import op

revision = '0026'
down_revision = '0025'
branch_labels = None
depends_on = None

_NOTED = """
INSERT INTO search_due (interaction_id)
SELECT i.id FROM interaction i WHERE EXISTS (SELECT FROM comment c WHERE c.interaction_id = i.id AND c.removed_at IS NULL)
ORDER BY i.started_at, i.id
"""
_WAKE = """
SELECT procrastinate_defer_jobs_v1(ARRAY[
    ROW('index', 'index', -20, 'index', NULL, '{}'::jsonb, NULL)::procrastinate_job_to_defer_v1])
WHERE EXISTS (SELECT FROM search_due)
"""


def upgrade() -> None:
    op.create_index('ix_link_newest', 'link', [sa.literal_column('started_at DESC'), sa.literal_column('client_card_id DESC')], unique=False, postgresql_where=sa.text('client_card_id IS NOT NULL'))
    op.create_index('ix_client_card_newest', 'client_card', [sa.literal_column('created_at DESC'), sa.literal_column('id DESC')], unique=False, postgresql_where=sa.text('merged_into_id IS NULL'))
    op.execute(_NOTED)
    op.execute(_WAKE)
