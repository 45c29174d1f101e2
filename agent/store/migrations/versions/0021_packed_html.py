"""HTML of mails is deflated by us: it is only shown, and PostgreSQL's own compression took most of a mail's time."""

import zlib

import sqlalchemy as sa
from alembic import op

revision = '0021'
down_revision = '0020'
branch_labels = None
depends_on = None

_BATCH = 500


def upgrade() -> None:
    op.add_column('message', sa.Column('packed', sa.LargeBinary(), server_default=sa.text("''::bytea"), nullable=False))
    op.execute("ALTER TABLE message ALTER COLUMN packed SET STORAGE EXTERNAL")
    connection = op.get_bind()
    last = 0
    while rows := connection.execute(
        sa.text("SELECT interaction_id, html FROM message WHERE interaction_id > :last AND html <> ''"
                " ORDER BY interaction_id LIMIT :most"),
        {'last': last, 'most': _BATCH},
    ).all():
        connection.execute(
            sa.text('UPDATE message SET packed = :packed WHERE interaction_id = :number'),
            [{'number': number, 'packed': zlib.compress(html.encode(), 1)} for number, html in rows],
        )
        last = rows[-1][0]
    op.drop_column('message', 'html')
    op.alter_column('message', 'packed', new_column_name='html')
