"""What virtual PBXs told, and the recordings they keep"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('notification',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('provider', sa.Text(), nullable=False),
    sa.Column('digest', sa.LargeBinary(), nullable=False),
    sa.Column('origin', sa.Text(), nullable=False),
    sa.Column('tail', sa.Text(), server_default='', nullable=False),
    sa.Column('query', sa.Text(), server_default='', nullable=False),
    sa.Column('content_type', sa.Text(), server_default='', nullable=False),
    sa.Column('body', sa.LargeBinary(), nullable=False),
    sa.Column('received_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('call_key', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_notification')),
    sa.UniqueConstraint('provider', 'digest', name=op.f('uq_notification_provider_digest'))
    )
    op.create_index('ix_notification_call', 'notification', ['provider', 'call_key'], unique=False, postgresql_where=sa.text('call_key IS NOT NULL'))
    op.create_index('ix_notification_stored', 'notification', ['id'], unique=False, postgresql_where=sa.text("state = 'stored'"))
    op.create_table('provider_call',
    sa.Column('provider', sa.Text(), nullable=False),
    sa.Column('call_key', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('told_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('noted_upto', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('read_upto', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.PrimaryKeyConstraint('provider', 'call_key', name=op.f('pk_provider_call'))
    )
    op.create_index('ix_provider_call_unsettled', 'provider_call', ['provider', 'told_at'], unique=False, postgresql_where=sa.text("state <> 'ended'"))
    op.create_index('ix_provider_call_interrupted', 'provider_call', ['told_at'], unique=False, postgresql_where=sa.text('read_upto < noted_upto'))
    op.create_table('provider_recording',
    sa.Column('provider', sa.Text(), nullable=False),
    sa.Column('call_key', sa.Text(), nullable=False),
    sa.Column('reference', sa.Text(), nullable=False),
    sa.Column('url', sa.Text(), server_default='', nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('attempts', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('due_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('problem', sa.Text(), server_default='', nullable=False),
    sa.Column('channels', sa.SmallInteger(), nullable=True),
    sa.Column('interaction_id', sa.BigInteger(), nullable=True),
    sa.ForeignKeyConstraint(['interaction_id'], ['interaction.id'], name=op.f('fk_provider_recording_interaction_id')),
    sa.PrimaryKeyConstraint('provider', 'call_key', 'reference', name=op.f('pk_provider_recording'))
    )
    op.create_index('ix_provider_recording_due', 'provider_recording', ['due_at'], unique=False, postgresql_where=sa.text("state = 'waiting'"))
    op.create_table('provider_status',
    sa.Column('provider', sa.Text(), nullable=False),
    sa.Column('told_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('refused', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('refused_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('claimed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('polled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('polled_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('poll_problem', sa.Text(), server_default='', nullable=False),
    sa.PrimaryKeyConstraint('provider', name=op.f('pk_provider_status'))
    )
