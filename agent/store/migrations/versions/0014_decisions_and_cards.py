"""What people decide about numbers and cards: rules, policies of lines, merges, notes, stages, proposals, lists"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('card_import',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('content', sa.LargeBinary(), nullable=True),
    sa.Column('plan', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('report', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('applied', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_card_import'))
    )
    op.create_table('line_policy',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('value', sa.Text(), nullable=False),
    sa.Column('unknown', sa.Text(), nullable=False),
    sa.Column('made_by', sa.Text(), nullable=False),
    sa.Column('made_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_line_policy')),
    sa.UniqueConstraint('kind', 'value', name=op.f('uq_line_policy_kind_value'))
    )
    op.create_table('card_merge',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('kept_id', sa.BigInteger(), nullable=False),
    sa.Column('gone_id', sa.BigInteger(), nullable=False),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('moved', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('undone_by', sa.Text(), nullable=True),
    sa.Column('undone_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['gone_id'], ['client_card.id'], name=op.f('fk_card_merge_gone_id')),
    sa.ForeignKeyConstraint(['kept_id'], ['client_card.id'], name=op.f('fk_card_merge_kept_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_card_merge'))
    )
    op.create_index(op.f('ix_card_merge_gone_id'), 'card_merge', ['gone_id'], unique=False)
    op.create_index(op.f('ix_card_merge_kept_id'), 'card_merge', ['kept_id'], unique=False)
    op.create_table('card_note',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('client_card_id', sa.BigInteger(), nullable=False),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['client_card_id'], ['client_card.id'], name=op.f('fk_card_note_client_card_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_card_note'))
    )
    op.create_index(op.f('ix_card_note_client_card_id'), 'card_note', ['client_card_id'], unique=False)
    op.create_table('card_stage',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('client_card_id', sa.BigInteger(), nullable=False),
    sa.Column('stage', sa.Text(), server_default='', nullable=False),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['client_card_id'], ['client_card.id'], name=op.f('fk_card_stage_client_card_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_card_stage'))
    )
    op.create_index(op.f('ix_card_stage_client_card_id'), 'card_stage', ['client_card_id'], unique=False)
    op.create_table('contact_proposal',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('client_card_id', sa.BigInteger(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('value', sa.Text(), nullable=False),
    sa.Column('label', sa.Text(), server_default='', nullable=False),
    sa.Column('interaction_id', sa.BigInteger(), nullable=False),
    sa.Column('state', sa.Text(), server_default='open', nullable=False),
    sa.Column('found_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['client_card_id'], ['client_card.id'], name=op.f('fk_contact_proposal_client_card_id')),
    sa.ForeignKeyConstraint(['interaction_id'], ['interaction.id'], name=op.f('fk_contact_proposal_interaction_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_contact_proposal')),
    sa.UniqueConstraint('client_card_id', 'kind', 'value', name=op.f('uq_contact_proposal_client_card_id_kind_value'))
    )
    op.create_index(op.f('ix_contact_proposal_interaction_id'), 'contact_proposal', ['interaction_id'], unique=False)
    op.create_table('distinct_cards',
    sa.Column('first_id', sa.BigInteger(), nullable=False),
    sa.Column('second_id', sa.BigInteger(), nullable=False),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['first_id'], ['client_card.id'], name=op.f('fk_distinct_cards_first_id')),
    sa.ForeignKeyConstraint(['second_id'], ['client_card.id'], name=op.f('fk_distinct_cards_second_id')),
    sa.PrimaryKeyConstraint('first_id', 'second_id', name=op.f('pk_distinct_cards'))
    )
    op.create_index(op.f('ix_distinct_cards_second_id'), 'distinct_cards', ['second_id'], unique=False)
    op.create_table('link_rule',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('value', sa.Text(), nullable=False),
    sa.Column('decision', sa.Text(), nullable=False),
    sa.Column('client_card_id', sa.BigInteger(), nullable=True),
    sa.Column('note', sa.Text(), server_default='', nullable=False),
    sa.Column('made_by', sa.Text(), nullable=False),
    sa.Column('made_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('revoked_by', sa.Text(), nullable=True),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['client_card_id'], ['client_card.id'], name=op.f('fk_link_rule_client_card_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_link_rule'))
    )
    op.create_index(op.f('ix_link_rule_client_card_id'), 'link_rule', ['client_card_id'], unique=False)
    op.create_index('ix_link_rule_in_force', 'link_rule', ['kind', 'value'], unique=True, postgresql_where=sa.text('revoked_at IS NULL'))
    op.create_table('relink_run',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('subject', sa.Text(), nullable=False),
    sa.Column('client_card_id', sa.BigInteger(), nullable=True),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('total', sa.Integer(), nullable=False),
    sa.Column('done', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('changed', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('open_batches', postgresql.ARRAY(sa.Integer()), server_default=sa.text("'{}'::integer[]"), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['client_card_id'], ['client_card.id'], name=op.f('fk_relink_run_client_card_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_relink_run'))
    )
    op.create_index('ix_relink_run_open', 'relink_run', ['client_card_id'], unique=False, postgresql_where=sa.text('finished_at IS NULL'))
    op.add_column('client_card', sa.Column('stage', sa.Text(), server_default='', nullable=False))
    op.add_column('client_card', sa.Column('origin', sa.Text(), server_default='', nullable=False))
    op.add_column('client_card', sa.Column('merged_into_id', sa.BigInteger(), nullable=True))
    op.create_index('ix_client_card_merged_into_id', 'client_card', ['merged_into_id'], unique=False, postgresql_where=sa.text('merged_into_id IS NOT NULL'))
    op.create_foreign_key(op.f('fk_client_card_merged_into_id'), 'client_card', 'client_card', ['merged_into_id'], ['id'])
    op.add_column('link', sa.Column('confidence', sa.SmallInteger(), server_default=sa.text('100'), nullable=False))
    op.add_column('link', sa.Column('candidates', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False))
    op.add_column('link', sa.Column('link_rule_id', sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f('fk_link_link_rule_id'), 'link', 'link_rule', ['link_rule_id'], ['id'])
