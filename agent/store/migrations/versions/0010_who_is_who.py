"""Who is who: what each source told of a call, extensions proposed, and those that are nobody's on purpose"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('call_view',
    sa.Column('evidence_id', sa.BigInteger(), nullable=False),
    sa.Column('told', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('kept_apart', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.ForeignKeyConstraint(['evidence_id'], ['evidence.id'], name=op.f('fk_call_view_evidence_id')),
    sa.PrimaryKeyConstraint('evidence_id', name=op.f('pk_call_view'))
    )
    op.create_table('call_number',
    sa.Column('evidence_id', sa.BigInteger(), nullable=False),
    sa.Column('tail', sa.Text(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['evidence_id'], ['evidence.id'], name=op.f('fk_call_number_evidence_id')),
    sa.PrimaryKeyConstraint('evidence_id', 'tail', name=op.f('pk_call_number'))
    )
    op.create_index(op.f('ix_call_number_tail_started_at'), 'call_number', ['tail', 'started_at'], unique=False)
    op.create_table('extension_proposal',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('source', sa.Text(), nullable=False),
    sa.Column('extension', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), server_default='', nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('first_seen', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('last_seen', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_extension_proposal')),
    sa.UniqueConstraint('source', 'extension', name=op.f('uq_extension_proposal_source_extension'))
    )
    op.create_index('ix_extension_proposal_open', 'extension_proposal', ['extension'], unique=False, postgresql_where=sa.text("state = 'open'"))
    op.alter_column('employee_identity', 'employee_id', existing_type=sa.BigInteger(), nullable=True)
    op.add_column('employee_identity', sa.Column('label', sa.Text(), server_default='', nullable=False))
    op.add_column('party', sa.Column('credited_by', sa.Text(), nullable=True))
    op.create_index('ix_party_nobodys', 'party', ['identity_value'], unique=False, postgresql_where=sa.text("identity_kind = 'extension' AND employee_id IS NULL"))
    for table in ('capture', 'recording'):
        op.add_column(table, sa.Column('evidence_id', sa.BigInteger(), nullable=True))
        op.create_foreign_key(op.f(f'fk_{table}_evidence_id'), table, 'evidence', ['evidence_id'], ['id'])
    op.execute(
        """
        UPDATE capture SET evidence_id = evidence.id
        FROM evidence WHERE evidence.interaction_id = capture.interaction_id
        """
    )
    # Until now each call had one source, which told exactly what is stored
    op.execute(
        """
        INSERT INTO call_view (evidence_id, told)
        SELECT evidence.id, jsonb_build_object(
            'started', started_at, 'answered', answered_at, 'ended', ended_at, 'disposition', disposition,
            'truncated', call.truncated, 'conversation_key', conversation_key, 'flags', '[]'::jsonb,
            'parties', coalesce((
                SELECT jsonb_agg(jsonb_build_object(
                    'position', position, 'kind', party.kind, 'value', value, 'name', name, 'channel', channel,
                    'joined', joined_at, 'left', left_at) ORDER BY ordinal)
                FROM party WHERE party.interaction_id = interaction.id), '[]'),
            'takes', coalesce((
                SELECT jsonb_object_agg(id, jsonb_build_object('ended', state <> 'open', 'cut', truncated))
                FROM capture WHERE capture.interaction_id = interaction.id), '{}'))
        FROM evidence JOIN interaction ON interaction.id = interaction_id JOIN call USING (interaction_id)
        """
    )
    op.execute(
        r"""
        INSERT INTO call_number (evidence_id, tail, started_at)
        SELECT DISTINCT evidence.id, right(digits, 7), started_at
        FROM evidence JOIN interaction ON interaction.id = interaction_id JOIN call USING (interaction_id)
             JOIN party USING (interaction_id),
             LATERAL regexp_replace(split_part(value, '@', 1), '\D', '', 'g') AS digits
        WHERE digits <> ''
        """
    )
