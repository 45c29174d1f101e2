"""Marks of recordings, and packet logs kept"""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('recording_mark',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('recording_id', sa.BigInteger(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('channel', sa.SmallInteger(), nullable=True),
    sa.Column('start_ms', sa.Integer(), nullable=False),
    sa.Column('end_ms', sa.Integer(), nullable=False),
    sa.Column('text', sa.Text(), server_default='', nullable=False),
    sa.ForeignKeyConstraint(['recording_id'], ['recording.id'], name=op.f('fk_recording_mark_recording_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_recording_mark'))
    )
    op.create_index(op.f('ix_recording_mark_recording_id_start_ms'), 'recording_mark', ['recording_id', 'start_ms'], unique=False)
    op.create_table('kept_log',
    sa.Column('capture_id', sa.Text(), nullable=False),
    sa.Column('blob_id', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['blob_id'], ['blob.id'], name=op.f('fk_kept_log_blob_id')),
    sa.ForeignKeyConstraint(['capture_id'], ['capture.id'], name=op.f('fk_kept_log_capture_id')),
    sa.PrimaryKeyConstraint('capture_id', name=op.f('pk_kept_log'))
    )
