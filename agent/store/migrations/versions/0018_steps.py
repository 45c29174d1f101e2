"""Tasks, promises and notes of a card"""

import sqlalchemy as sa
from alembic import op

revision = '0018'
down_revision = '0017'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('task',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('client_card_id', sa.BigInteger(), nullable=False),
    sa.Column('interaction_id', sa.BigInteger(), nullable=True),
    sa.Column('employee_id', sa.BigInteger(), nullable=True),
    sa.Column('text', sa.Text(), nullable=False),
    sa.Column('due_on', sa.Date(), nullable=True),
    sa.Column('made_by', sa.Text(), nullable=False),
    sa.Column('made_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('done_by', sa.Text(), nullable=True),
    sa.Column('done_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['client_card_id'], ['client_card.id'], name=op.f('fk_task_client_card_id')),
    sa.ForeignKeyConstraint(['employee_id'], ['employee.id'], name=op.f('fk_task_employee_id')),
    sa.ForeignKeyConstraint(['interaction_id'], ['interaction.id'], name=op.f('fk_task_interaction_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_task'))
    )
    op.create_index(op.f('ix_task_client_card_id'), 'task', ['client_card_id'], unique=False)
    op.create_index('ix_task_interaction_id', 'task', ['interaction_id'], unique=False, postgresql_where=sa.text('interaction_id IS NOT NULL'))
    op.create_index('ix_task_open', 'task', ['due_on', 'id'], unique=False, postgresql_where=sa.text('done_at IS NULL'))
    op.create_index('ix_task_open_of_employee', 'task', ['employee_id', 'due_on', 'id'], unique=False, postgresql_where=sa.text('done_at IS NULL'))
    op.create_index('ix_task_done', 'task', ['done_at'], unique=False, postgresql_where=sa.text('done_at IS NOT NULL'))
    op.create_index('ix_link_by_hand', 'link', ['state', sa.literal_column('started_at DESC')], unique=False, postgresql_where=sa.text("client_card_id IS NULL AND decided_by <> 'rule'"))
    op.create_index('ix_contact_proposal_open', 'contact_proposal', ['id'], unique=False, postgresql_where=sa.text("state = 'open'"))
    op.create_index('ix_interaction_flagged', 'interaction', [sa.literal_column('started_at DESC')], unique=False, postgresql_where=sa.text("flags <> '{}'::text[]"))
