"""Copies in mailboxes, horizons and modification sequences of folders"""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('mailbox_copy',
    sa.Column('mailbox', sa.Text(), nullable=False),
    sa.Column('folder', sa.Text(), nullable=False),
    sa.Column('uidvalidity', sa.BigInteger(), nullable=False),
    sa.Column('uid', sa.BigInteger(), nullable=False),
    sa.Column('evidence_id', sa.BigInteger(), nullable=True),
    sa.Column('flags', sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('skipped', sa.Text(), server_default='', nullable=False),
    sa.Column('gone_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['evidence_id'], ['evidence.id'], name=op.f('fk_mailbox_copy_evidence_id')),
    sa.PrimaryKeyConstraint('mailbox', 'folder', 'uidvalidity', 'uid', name=op.f('pk_mailbox_copy'))
    )
    op.create_index(op.f('ix_mailbox_copy_evidence_id'), 'mailbox_copy', ['evidence_id'], unique=False)
    op.add_column('mailbox_folder', sa.Column('horizon', sa.Date(), nullable=True))
    op.add_column('mailbox_folder', sa.Column('modseq', sa.BigInteger(), server_default='0', nullable=False))
    op.execute(
        """
        INSERT INTO mailbox_copy (mailbox, folder, uidvalidity, uid, evidence_id)
        SELECT details->>'mailbox', details->>'folder', (details->>'uidvalidity')::bigint, (details->>'uid')::bigint, id
        FROM evidence
        WHERE source LIKE 'imap:%' AND details ?& ARRAY['mailbox', 'folder', 'uidvalidity', 'uid']
          AND (details->>'uidvalidity')::bigint > 0
        ON CONFLICT DO NOTHING
        """
    )
