"""Who took part in what is read off an index alone"""

import sqlalchemy as sa
from alembic import op

revision = '0028'
down_revision = '0027'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index('ix_party_of_employee', 'party', ['employee_id', 'interaction_id'], unique=False, postgresql_where=sa.text('employee_id IS NOT NULL'))
    op.drop_index('ix_party_employee_id', table_name='party', postgresql_where=sa.text('employee_id IS NOT NULL'))
