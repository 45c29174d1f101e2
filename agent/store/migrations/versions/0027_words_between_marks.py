"""Words between marks that are not ASCII are found: all words are indexed anew"""

from alembic import op

revision = '0027'
down_revision = '0026'
branch_labels = None
depends_on = None

_ALL = "INSERT INTO search_due (interaction_id) SELECT id FROM interaction ORDER BY started_at, id"
_WAKE = """
SELECT procrastinate_defer_jobs_v1(ARRAY[
    ROW('index', 'index', -20, 'index', NULL, '{}'::jsonb, NULL)::procrastinate_job_to_defer_v1])
WHERE EXISTS (SELECT FROM search_due)
"""


def upgrade() -> None:
    op.execute(_ALL)
    op.execute(_WAKE)
