"""What was understood while a call went on, until its recording is transcribed."""

import sqlalchemy as sa
from alembic import op

revision = '0025'
down_revision = '0024'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('live_answer',
    sa.Column('capture_id', sa.Text(), nullable=False),
    sa.Column('key', sa.LargeBinary(), nullable=False),
    sa.Column('answer', sa.LargeBinary(), nullable=False),
    sa.Column('begins_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('ends_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['capture_id'], ['capture.id'], name=op.f('fk_live_answer_capture_id_capture')),
    sa.PrimaryKeyConstraint('capture_id', 'key', name=op.f('pk_live_answer'))
    )
    op.create_index(op.f('ix_live_answer_created_at'), 'live_answer', ['created_at'], unique=False)
