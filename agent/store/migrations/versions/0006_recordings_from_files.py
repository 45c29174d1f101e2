"""Recordings made from sound files, and which files were taken"""

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column('recording', 'capture_id', existing_type=sa.Text(), nullable=True)
    op.add_column('recording', sa.Column('reference', sa.Text(), nullable=True))
    op.add_column('recording', sa.Column('mixed', sa.Boolean(), server_default=sa.text('false'), nullable=False))
    op.create_unique_constraint(op.f('uq_recording_interaction_id_reference'), 'recording', ['interaction_id', 'reference'])
    op.create_index('ix_recording_file', 'recording', ['reference'], unique=True, postgresql_where=sa.text("reference LIKE 'file:%'"))
    op.create_table('sound_file',
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('path', sa.LargeBinary(), nullable=False),
    sa.Column('suffix', sa.Text(), server_default='', nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('modified_ns', sa.BigInteger(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), server_default='', nullable=False),
    sa.Column('tries', sa.SmallInteger(), server_default='0', nullable=False),
    sa.Column('interaction_id', sa.BigInteger(), nullable=True),
    sa.Column('noted_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['interaction_id'], ['interaction.id'], name=op.f('fk_sound_file_interaction_id')),
    sa.PrimaryKeyConstraint('source', 'path', name=op.f('pk_sound_file'))
    )
    op.create_table('followed_file',
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('path', sa.LargeBinary(), nullable=False),
    sa.Column('inode', sa.BigInteger(), nullable=False),
    sa.Column('place', sa.BigInteger(), nullable=False),
    sa.Column('head', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('source', 'path', name=op.f('pk_followed_file'))
    )
