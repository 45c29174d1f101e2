"""The index of everything that was said and written"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None

# All runs of four digits of a number: an index of these finds it by any part of it.
_PARTS = """
CREATE FUNCTION number_parts(value text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ARRAY(
        SELECT DISTINCT pg_catalog.substr(one.digits, n, 4)
        FROM (SELECT pg_catalog.regexp_replace(value, '[^0-9]', '', 'g') AS digits) AS one,
            LATERAL pg_catalog.generate_series(1, pg_catalog.length(one.digits) - 3) AS n
    )
$$
"""

# What is there already is brought in by the job, the newest first.
_ALL = "INSERT INTO search_due (interaction_id) SELECT id FROM interaction ORDER BY started_at, id"
_WAKE = """
SELECT procrastinate_defer_jobs_v1(ARRAY[
    ROW('index', 'index', -20, 'index', NULL, '{}'::jsonb, NULL)::procrastinate_job_to_defer_v1])
WHERE EXISTS (SELECT FROM search_due)
"""


def upgrade() -> None:
    op.create_table('search_entry',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('interaction_id', sa.BigInteger(), nullable=True),
    sa.Column('part', sa.SmallInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('card_note_id', sa.BigInteger(), nullable=True),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('words', postgresql.TSVECTOR(), nullable=False),
    sa.ForeignKeyConstraint(['card_note_id'], ['card_note.id'], name=op.f('fk_search_entry_card_note_id'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['interaction_id'], ['interaction.id'], name=op.f('fk_search_entry_interaction_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_search_entry')),
    sa.UniqueConstraint('interaction_id', 'part', name=op.f('uq_search_entry_interaction_id_part'))
    )
    op.create_index('ix_search_entry_card_note_id', 'search_entry', ['card_note_id'], unique=True, postgresql_where=sa.text('card_note_id IS NOT NULL'))
    op.create_index('ix_search_entry_words', 'search_entry', ['words'], unique=False, postgresql_using='gin', postgresql_with={'gin_pending_list_limit': '1024'})
    op.create_table('search_due',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('interaction_id', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_search_due'))
    )
    op.create_table('saved_search',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('query', sa.Text(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['account.id'], name=op.f('fk_saved_search_account_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_saved_search')),
    sa.UniqueConstraint('account_id', 'name', name=op.f('uq_saved_search_account_id_name'))
    )
    op.execute('ALTER TABLE search_entry ALTER COLUMN words SET STATISTICS 300')  # weeks take their room among them
    op.execute(_PARTS)
    op.execute("CREATE INDEX ix_contact_point_parts ON contact_point USING gin (number_parts(value)) WHERE kind = 'phone'")
    op.execute("CREATE INDEX ix_client_card_words ON client_card USING gin (to_tsvector('simple', translate(lower(name), 'ё', 'е')))")
    # What is private is little and asked about at every entry.
    op.create_index('ix_link_private', 'link', ['interaction_id'], unique=False, postgresql_where=sa.text("state = 'private'"))
    op.create_index('ix_meeting_hidden', 'meeting', ['interaction_id'], unique=False, postgresql_where=sa.text('hidden'))
    op.create_index('ix_message_private', 'message', ['interaction_id'], unique=False, postgresql_where=sa.text("category = 'private'"))
    op.execute(_ALL)
    op.execute(_WAKE)
