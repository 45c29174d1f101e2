"""CRMs: connectors, deliveries, links to recordings, and the mirror of cards, users, stages and deals"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0013'
down_revision = '0012'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('connector',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('since', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('delivers', sa.Boolean(), server_default=sa.text('true'), nullable=False),
    sa.Column('state', sa.Text(), server_default='', nullable=False),
    sa.Column('problem', sa.Text(), server_default='', nullable=False),
    sa.Column('paused_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('failures', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('succeeded_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('secrets', sa.LargeBinary(), nullable=True),
    sa.Column('cursor', sa.Text(), server_default='', nullable=False),
    sa.Column('read_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('read_problem', sa.Text(), server_default='', nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_connector')),
    sa.UniqueConstraint('name', name=op.f('uq_connector_name'))
    )
    op.create_table('crm_stage',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('connector_id', sa.BigInteger(), nullable=False),
    sa.Column('pipeline', sa.Text(), server_default='', nullable=False),
    sa.Column('external_id', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), server_default='', nullable=False),
    sa.Column('pipeline_name', sa.Text(), server_default='', nullable=False),
    sa.Column('place', sa.Integer(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['connector_id'], ['connector.id'], name=op.f('fk_crm_stage_connector_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_crm_stage')),
    sa.UniqueConstraint('connector_id', 'pipeline', 'external_id', name=op.f('uq_crm_stage_connector_id_pipeline_external_id'))
    )
    op.create_table('crm_user',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('connector_id', sa.BigInteger(), nullable=False),
    sa.Column('external_id', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), server_default='', nullable=False),
    sa.Column('address', sa.Text(), server_default='', nullable=False),
    sa.Column('extension', sa.Text(), server_default='', nullable=False),
    sa.Column('is_active', sa.Boolean(), server_default=sa.text('true'), nullable=False),
    sa.Column('employee_id', sa.BigInteger(), nullable=True),
    sa.Column('mapped_by', sa.Text(), nullable=True),
    sa.ForeignKeyConstraint(['connector_id'], ['connector.id'], name=op.f('fk_crm_user_connector_id')),
    sa.ForeignKeyConstraint(['employee_id'], ['employee.id'], name=op.f('fk_crm_user_employee_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_crm_user')),
    sa.UniqueConstraint('connector_id', 'external_id', name=op.f('uq_crm_user_connector_id_external_id'))
    )
    op.create_index(op.f('ix_crm_user_employee_id'), 'crm_user', ['employee_id'], unique=False)
    op.create_table('crm_card',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('connector_id', sa.BigInteger(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('external_id', sa.Text(), nullable=False),
    sa.Column('client_card_id', sa.BigInteger(), nullable=True),
    sa.Column('name', sa.Text(), server_default='', nullable=False),
    sa.Column('identities', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False),
    sa.Column('responsible', sa.Text(), server_default='', nullable=False),
    sa.Column('gone_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('merged_into', sa.Text(), nullable=True),
    sa.Column('is_erased', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('seen_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['client_card_id'], ['client_card.id'], name=op.f('fk_crm_card_client_card_id')),
    sa.ForeignKeyConstraint(['connector_id'], ['connector.id'], name=op.f('fk_crm_card_connector_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_crm_card')),
    sa.UniqueConstraint('connector_id', 'kind', 'external_id', name=op.f('uq_crm_card_connector_id_kind_external_id'))
    )
    op.create_index(op.f('ix_crm_card_client_card_id'), 'crm_card', ['client_card_id'], unique=False)
    op.create_table('delivery',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('connector_id', sa.BigInteger(), nullable=False),
    sa.Column('interaction_id', sa.BigInteger(), nullable=True),
    sa.Column('client_card_id', sa.BigInteger(), nullable=True),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('wanted', sa.Integer(), server_default=sa.text('1'), nullable=False),
    sa.Column('told', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('withdrawn', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('state', sa.Text(), server_default='waiting', nullable=False),
    sa.Column('due_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('leased_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('begun', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('attempts', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('tried_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('failure', sa.Text(), nullable=True),
    sa.Column('problem', sa.Text(), server_default='', nullable=False),
    sa.Column('remedy', sa.Text(), server_default='', nullable=False),
    sa.Column('logged', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('parts', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('done_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['client_card_id'], ['client_card.id'], name=op.f('fk_delivery_client_card_id')),
    sa.ForeignKeyConstraint(['connector_id'], ['connector.id'], name=op.f('fk_delivery_connector_id')),
    sa.ForeignKeyConstraint(['interaction_id'], ['interaction.id'], name=op.f('fk_delivery_interaction_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_delivery')),
    sa.UniqueConstraint('connector_id', 'interaction_id', 'client_card_id', name=op.f('uq_delivery_connector_id_interaction_id_client_card_id')),
    sa.UniqueConstraint('key', name=op.f('uq_delivery_key'))
    )
    op.create_index(op.f('ix_delivery_client_card_id'), 'delivery', ['client_card_id'], unique=False)
    op.create_index('ix_delivery_failed', 'delivery', ['connector_id', 'tried_at'], unique=False, postgresql_where=sa.text("state = 'failed'"))
    op.create_index(op.f('ix_delivery_interaction_id'), 'delivery', ['interaction_id'], unique=False)
    op.create_index('ix_delivery_order', 'delivery', ['connector_id', 'client_card_id', 'started_at', 'id'], unique=False, postgresql_where=sa.text("state = 'waiting'"))
    op.create_index('ix_delivery_waiting', 'delivery', ['connector_id', 'due_at', 'started_at', 'id'], unique=False, postgresql_where=sa.text("state = 'waiting'"))
    op.create_table('deal',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('connector_id', sa.BigInteger(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('external_id', sa.Text(), nullable=False),
    sa.Column('crm_card_id', sa.BigInteger(), nullable=True),
    sa.Column('title', sa.Text(), server_default='', nullable=False),
    sa.Column('pipeline', sa.Text(), server_default='', nullable=False),
    sa.Column('stage', sa.Text(), server_default='', nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('amount', sa.Numeric(precision=20, scale=4), nullable=True),
    sa.Column('currency', sa.Text(), server_default='', nullable=False),
    sa.Column('source', sa.Text(), server_default='', nullable=False),
    sa.Column('loss_reason', sa.Text(), server_default='', nullable=False),
    sa.Column('responsible', sa.Text(), server_default='', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('closed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('gone_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('seen_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['connector_id'], ['connector.id'], name=op.f('fk_deal_connector_id')),
    sa.ForeignKeyConstraint(['crm_card_id'], ['crm_card.id'], name=op.f('fk_deal_crm_card_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_deal')),
    sa.UniqueConstraint('connector_id', 'kind', 'external_id', name=op.f('uq_deal_connector_id_kind_external_id'))
    )
    op.create_index(op.f('ix_deal_crm_card_id'), 'deal', ['crm_card_id'], unique=False)
    op.create_table('deal_stage',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('deal_id', sa.BigInteger(), nullable=False),
    sa.Column('stage', sa.Text(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['deal_id'], ['deal.id'], name=op.f('fk_deal_stage_deal_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_deal_stage')),
    sa.UniqueConstraint('deal_id', 'stage', 'at', name=op.f('uq_deal_stage_deal_id_stage_at'))
    )
    op.create_table('recording_share',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('recording_id', sa.BigInteger(), nullable=False),
    sa.Column('delivery_id', sa.BigInteger(), nullable=False),
    sa.Column('token_hash', sa.LargeBinary(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['delivery_id'], ['delivery.id'], name=op.f('fk_recording_share_delivery_id')),
    sa.ForeignKeyConstraint(['recording_id'], ['recording.id'], name=op.f('fk_recording_share_recording_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_recording_share')),
    sa.UniqueConstraint('recording_id', 'delivery_id', name=op.f('uq_recording_share_recording_id_delivery_id')),
    sa.UniqueConstraint('token_hash', name=op.f('uq_recording_share_token_hash'))
    )
