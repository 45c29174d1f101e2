"""Listening: outlines of recordings, comments at a second, corrected words"""

import sqlalchemy as sa
from alembic import op

revision = '0017'
down_revision = '0016'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('recording_outline',
    sa.Column('recording_id', sa.BigInteger(), nullable=False),
    sa.Column('bucket_ms', sa.Integer(), nullable=False),
    sa.Column('peaks', sa.LargeBinary(), nullable=False),
    sa.ForeignKeyConstraint(['recording_id'], ['recording.id'], name=op.f('fk_recording_outline_recording_id')),
    sa.PrimaryKeyConstraint('recording_id', name=op.f('pk_recording_outline'))
    )
    op.create_table('comment',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('interaction_id', sa.BigInteger(), nullable=False),
    sa.Column('recording_id', sa.BigInteger(), nullable=True),
    sa.Column('at_ms', sa.Integer(), nullable=True),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('removed_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['account_id'], ['account.id'], name=op.f('fk_comment_account_id')),
    sa.ForeignKeyConstraint(['interaction_id'], ['interaction.id'], name=op.f('fk_comment_interaction_id')),
    sa.ForeignKeyConstraint(['recording_id'], ['recording.id'], name=op.f('fk_comment_recording_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_comment'))
    )
    op.create_index(op.f('ix_comment_interaction_id'), 'comment', ['interaction_id'], unique=False)
    op.create_table('utterance_correction',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('utterance_id', sa.BigInteger(), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('ended_by', sa.Text(), server_default='', nullable=False),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['utterance_id'], ['utterance.id'], name=op.f('fk_utterance_correction_utterance_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_utterance_correction'))
    )
    op.create_index(op.f('ix_utterance_correction_utterance_id'), 'utterance_correction', ['utterance_id'], unique=False)
    op.create_index('ix_utterance_correction_current', 'utterance_correction', ['utterance_id'], unique=True, postgresql_where=sa.text('ended_at IS NULL'))
