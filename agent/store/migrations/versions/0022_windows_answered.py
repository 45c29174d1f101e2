"""A transcription cut off goes on where it was, and says how far it is."""

import sqlalchemy as sa
from alembic import op

revision = '0022'
down_revision = '0021'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('answered_window',
    sa.Column('recording_id', sa.BigInteger(), nullable=False),
    sa.Column('window', sa.LargeBinary(), nullable=False),
    sa.Column('answer', sa.LargeBinary(), nullable=False),
    sa.ForeignKeyConstraint(['recording_id'], ['recording.id'], name=op.f('fk_answered_window_recording_id_recording')),
    sa.PrimaryKeyConstraint('recording_id', 'window', name=op.f('pk_answered_window'))
    )
    op.create_table('transcription',
    sa.Column('recording_id', sa.BigInteger(), nullable=False),
    sa.Column('model', sa.Text(), nullable=False),
    sa.Column('host', sa.Text(), nullable=False),
    sa.Column('speech_ms', sa.Integer(), nullable=False),
    sa.Column('done_ms', sa.Integer(), nullable=False),
    sa.Column('tries', sa.SmallInteger(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['recording_id'], ['recording.id'], name=op.f('fk_transcription_recording_id_recording')),
    sa.PrimaryKeyConstraint('recording_id', name=op.f('pk_transcription'))
    )
