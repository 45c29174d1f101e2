"""What programs need that follow the API: changes of interactions, answers to repeated requests"""

import sqlalchemy as sa
from alembic import op

revision = '0020'
down_revision = '0019'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('api_reply',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('owner', sa.Text(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('request', sa.LargeBinary(), nullable=False),
    sa.Column('status', sa.SmallInteger(), nullable=False),
    sa.Column('location', sa.Text(), server_default='', nullable=False),
    sa.Column('content', sa.Text(), server_default='', nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_api_reply'))
    )
    op.create_index(op.f('ix_api_reply_at'), 'api_reply', ['at'], unique=False)
    op.create_index('ix_api_reply_key', 'api_reply', ['owner', 'key'], unique=True)
    op.create_table('interaction_change',
    sa.Column('interaction_id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('changed_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('interaction_id', name=op.f('pk_interaction_change'))
    )
    op.execute(
        "INSERT INTO interaction_change (interaction_id, changed_at)"
        " SELECT interaction.id, greatest(interaction.created_at, max(link.decided_at))"
        " FROM interaction LEFT JOIN link ON link.interaction_id = interaction.id GROUP BY interaction.id"
    )
    op.create_index(op.f('ix_interaction_change_changed_at_interaction_id'), 'interaction_change', ['changed_at', 'interaction_id'], unique=False)
