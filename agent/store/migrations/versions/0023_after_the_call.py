"""What is done with a transcript: masks, corrections carried over, figures of sound."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0023'
down_revision = '0022'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('transcript', sa.Column('round', sa.SmallInteger(), server_default=sa.text('0'), nullable=False))
    op.add_column(
        'transcript',
        sa.Column('shown_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    )
    op.execute('UPDATE transcript SET shown_at = created_at')
    op.drop_constraint('uq_transcript_recording_id_model', 'transcript')
    op.create_unique_constraint(
        'uq_transcript_recording_id_model_round', 'transcript', ['recording_id', 'model', 'round']
    )
    op.create_table('mask_rule',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('text', sa.Text(), server_default='', nullable=False),
    sa.Column('enabled', sa.Boolean(), server_default=sa.text('true'), nullable=False),
    sa.Column('preset', sa.Text(), server_default='', nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_mask_rule'))
    )
    op.execute("INSERT INTO mask_rule (name, kind, preset) VALUES ('Card numbers', 'cards', 'cards')")
    op.create_table('mask_run',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('total', sa.Integer(), nullable=False),
    sa.Column('done', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('changed', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('next_id', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('last_id', sa.BigInteger(), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_mask_run'))
    )
    op.create_table('transcript_mask',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('transcript_id', sa.BigInteger(), nullable=False),
    sa.Column('why', sa.Text(), nullable=False),
    sa.Column('rule', sa.Text(), server_default='', nullable=False),
    sa.Column('channel', sa.SmallInteger(), nullable=False),
    sa.Column('start_ms', sa.Integer(), nullable=False),
    sa.Column('end_ms', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['transcript_id'], ['transcript.id'], name=op.f('fk_transcript_mask_transcript_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_transcript_mask'))
    )
    op.create_index(op.f('ix_transcript_mask_transcript_id'), 'transcript_mask', ['transcript_id'], unique=False)
    op.create_table('carried_correction',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('transcript_id', sa.BigInteger(), nullable=False),
    sa.Column('utterance_id', sa.BigInteger(), nullable=True),
    sa.Column('correction_id', sa.BigInteger(), nullable=False),
    sa.Column('settled_by', sa.Text(), server_default='', nullable=False),
    sa.Column('settled_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['correction_id'], ['utterance_correction.id'], name=op.f('fk_carried_correction_correction_id')),
    sa.ForeignKeyConstraint(['transcript_id'], ['transcript.id'], name=op.f('fk_carried_correction_transcript_id')),
    sa.ForeignKeyConstraint(['utterance_id'], ['utterance.id'], name=op.f('fk_carried_correction_utterance_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_carried_correction')),
    sa.UniqueConstraint('transcript_id', 'correction_id', name=op.f('uq_carried_correction_transcript_id_correction_id'))
    )
    op.create_index(op.f('ix_carried_correction_correction_id'), 'carried_correction', ['correction_id'], unique=False)
    op.create_index(op.f('ix_carried_correction_utterance_id'), 'carried_correction', ['utterance_id'], unique=False)
    op.create_table('talk',
    sa.Column('recording_id', sa.BigInteger(), nullable=False),
    sa.Column('answered_ms', sa.Integer(), nullable=False),
    sa.Column('length_ms', sa.Integer(), nullable=False),
    sa.Column('silence_ms', sa.Integer(), nullable=False),
    sa.Column('longest_silence_ms', sa.Integer(), nullable=False),
    sa.Column('together_ms', sa.Integer(), nullable=False),
    sa.Column('talk_ms', sa.ARRAY(sa.Integer()), nullable=False),
    sa.Column('monologue_ms', sa.ARRAY(sa.Integer()), nullable=False),
    sa.Column('interruptions', sa.ARRAY(sa.Integer()), nullable=False),
    sa.Column('first_ms', sa.ARRAY(sa.Integer()), nullable=False),
    sa.Column('patience_ms', sa.ARRAY(sa.Integer()), nullable=False),
    sa.Column('separated', sa.Boolean(), nullable=False),
    sa.Column('speech', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False),
    sa.Column('made_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['recording_id'], ['recording.id'], name=op.f('fk_talk_recording_id')),
    sa.PrimaryKeyConstraint('recording_id', name=op.f('pk_talk'))
    )
