"""Seals, acts of erasure, re-reading of blobs; links state media type and sizes

The chain of a database of before the first release is begun anew, since its links stated less; no seal of one has ever
left a machine.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('seal',
    sa.Column('number', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('length', sa.BigInteger(), nullable=False),
    sa.Column('statement', sa.LargeBinary(), nullable=False),
    sa.Column('signature', sa.LargeBinary(), nullable=False),
    sa.Column('sealed_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('number', name=op.f('pk_seal'))
    )
    op.create_table('seal_copy',
    sa.Column('seal_number', sa.BigInteger(), nullable=False),
    sa.Column('target', sa.Text(), nullable=False),
    sa.Column('delivered_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('token', sa.LargeBinary(), nullable=True),
    sa.Column('problem', sa.Text(), server_default='', nullable=False),
    sa.ForeignKeyConstraint(['seal_number'], ['seal.number'], name=op.f('fk_seal_copy_seal_number')),
    sa.PrimaryKeyConstraint('seal_number', 'target', name=op.f('pk_seal_copy'))
    )
    op.create_index('ix_seal_copy_waiting', 'seal_copy', ['target', 'seal_number'], unique=False, postgresql_where=sa.text('delivered_at IS NULL'))
    op.create_table('erasure',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('basis', sa.Text(), nullable=False),
    sa.Column('subject', sa.Text(), nullable=False),
    sa.Column('links', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'::jsonb"), nullable=False),
    sa.Column('blobs', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_erasure'))
    )
    op.execute('DELETE FROM chain_link')
    op.execute('UPDATE blob SET chained = false WHERE chained')
    op.alter_column('chain_link', 'blob_id', existing_type=sa.BigInteger(), nullable=True)
    op.add_column('chain_link', sa.Column('erasure_id', sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f('fk_chain_link_erasure_id'), 'chain_link', 'erasure', ['erasure_id'], ['id'])
    op.create_unique_constraint(op.f('uq_chain_link_erasure_id'), 'chain_link', ['erasure_id'])
    op.add_column('interaction', sa.Column('erasure_id', sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f('fk_interaction_erasure_id'), 'interaction', 'erasure', ['erasure_id'], ['id'])
    op.add_column('blob', sa.Column('checked_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False))
    op.add_column('blob', sa.Column('fault', sa.Text(), server_default='', nullable=False))
    op.create_index('ix_blob_checked', 'blob', ['checked_at'], unique=False)
    op.create_index('ix_blob_faulty', 'blob', ['id'], unique=False, postgresql_where=sa.text("fault <> ''"))
