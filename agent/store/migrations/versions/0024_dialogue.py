"""What a dialogue knows beside its words."""

import sqlalchemy as sa
from alembic import op

revision = '0024'
down_revision = '0023'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('transcript', sa.Column('separated', sa.Boolean(), server_default=sa.text('true'), nullable=False))
    op.add_column('utterance', sa.Column('interrupts', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.execute(
        'UPDATE transcript SET separated = false FROM recording WHERE recording.id = recording_id AND recording.mixed'
    )
