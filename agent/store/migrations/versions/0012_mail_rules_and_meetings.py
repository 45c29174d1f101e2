"""Rules that sort mail, threads by subject, meetings"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None

# preset, name, category, tag, conditions
PRESETS = [
    ("bounce", "Mail that came back", "bounce", None, {"marked": ["bounce"]}),
    ("internal", "Mail among ourselves", "internal", None, {"direction": ["internal"]}),
    ("group", "A group at a client's domain or our own", "conversation", None,
     {"marked": ["newsletter"], "list": ["client", "own"]}),
    ("automatic", "Automatic mail", "automatic", None, {"marked": ["automatic"]}),
    ("newsletter", "Newsletters", "newsletter", None, {"marked": ["newsletter"]}),
    ("proposal_subject", "Proposal: by the subject", None, "proposal",
     {"direction": ["outbound"], "subject": [
         "кп", "коммерческ* предложен*", "ком предложен*", "предложение о", "наше предложение",
         "proposal", "quote", "quotation", "commercial offer", "price offer"]}),
    ("proposal_attachment", "Proposal: by a file's name", None, "proposal",
     {"direction": ["outbound"], "attachment": [
         "кп", "коммерческ* предложен*", "ком предложен*", "kp", "proposal*", "quote", "quotation*",
         "commercial offer", "price offer"]}),
    ("proposal_words", "Proposal: by its words", None, "proposal",
     {"direction": ["outbound"], "words": [
         "прилага* коммерческ* предложен*", "направля* коммерческ* предложен*", "высыла* коммерческ* предложен*",
         "отправля* коммерческ* предложен*", "наше коммерческое предложение", "коммерческое предложение во вложении",
         "прилага* кп", "направля* кп", "высыла* кп", "отправля* кп", "кп во вложении",
         "attached is our proposal", "attached our proposal", "attached proposal", "proposal attached",
         "our proposal is attached", "attached our quotation", "attached quotation", "quotation attached",
         "attached our offer"]}),
    ("invoice_subject", "Invoice: by the subject", None, "invoice",
     {"direction": ["outbound"], "subject": [
         "счет", "счета", "счету", "счетом", "invoice", "pro forma", "proforma", "-за счет", "-на счет"]}),
    ("invoice_attachment", "Invoice: by a file's name", None, "invoice",
     {"direction": ["outbound"], "attachment": ["счет", "счета", "schet", "invoice*", "inv", "proforma*"]}),
    ("invoice_words", "Invoice: by its words", None, "invoice",
     {"direction": ["outbound"], "words": [
         "счет на оплату", "счет во вложении", "выставил* счет", "выставля* счет", "прилага* счет", "высыла* счет",
         "направля* счет", "отправля* счет", "invoice attached", "invoice is attached", "attached invoice",
         "attached the invoice", "attached is the invoice", "attached our invoice"]}),
    ("contract_subject", "Contract: by the subject", None, "contract",
     {"direction": ["outbound"], "subject": [
         "договор", "договора", "договору", "договором", "договоре", "договоры", "договоров", "контракт*",
         "contract", "contracts", "agreement"]}),
    ("contract_attachment", "Contract: by a file's name", None, "contract",
     {"direction": ["outbound"], "attachment": [
         "договор", "договора", "договоры", "dogovor*", "контракт*", "contract*", "agreement*"]}),
    ("contract_words", "Contract: by its words", None, "contract",
     {"direction": ["outbound"], "words": [
         "договор во вложении", "прилага* договор", "направля* договор", "высыла* договор", "отправля* договор",
         "подпис* договор", "contract attached", "contract is attached", "attached contract", "attached the contract",
         "attached agreement", "agreement attached"]}),
]


def upgrade() -> None:
    _threads_and_messages()
    _rules()
    _meetings()


def _threads_and_messages() -> None:
    op.create_table('thread_subject',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('thread_id', sa.BigInteger(), nullable=False),
    sa.Column('key', sa.LargeBinary(), nullable=False),
    sa.Column('sent_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('is_answer', sa.Boolean(), nullable=False),
    sa.ForeignKeyConstraint(['thread_id'], ['thread.id'], name=op.f('fk_thread_subject_thread_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_thread_subject'))
    )
    op.create_index(op.f('ix_thread_subject_key_sent_at'), 'thread_subject', ['key', 'sent_at'], unique=False)
    op.create_index(op.f('ix_thread_subject_thread_id'), 'thread_subject', ['thread_id'], unique=False)
    op.add_column('message', sa.Column('id_key', sa.Text(), nullable=True))
    op.add_column('message', sa.Column('marked', sa.Text(), server_default='conversation', nullable=False))
    op.add_column('message', sa.Column('marked_reason', sa.Text(), server_default='', nullable=False))
    op.add_column('message', sa.Column('tags', postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False))
    op.add_column('message', sa.Column('returned_id', sa.Text(), server_default='', nullable=False))
    op.execute("UPDATE message SET marked = category, marked_reason = category_reason")
    op.create_index('ix_message_id_key', 'message', ['id_key'], unique=False, postgresql_where=sa.text('id_key IS NOT NULL'))
    op.create_index('ix_message_returned', 'message', ['returned_id'], unique=False, postgresql_where=sa.text("returned_id <> ''"))


def _rules() -> None:
    mail_rule = op.create_table('mail_rule',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('place', sa.Integer(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('preset', sa.Text(), server_default='', nullable=False),
    sa.Column('enabled', sa.Boolean(), server_default=sa.text('true'), nullable=False),
    sa.Column('category', sa.Text(), nullable=True),
    sa.Column('tag', sa.Text(), nullable=True),
    sa.Column('conditions', postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_mail_rule'))
    )
    rows = [
        {"place": place, "name": name, "preset": preset, "category": category, "tag": tag, "conditions": conditions}
        for place, (preset, name, category, tag, conditions) in enumerate(PRESETS, 1)
    ]
    op.bulk_insert(mail_rule, rows)
    op.create_table('rule_run',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('by', sa.Text(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('total', sa.Integer(), nullable=False),
    sa.Column('done', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('changed', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('next_id', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('last_id', sa.BigInteger(), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_rule_run'))
    )


def _meetings() -> None:
    op.create_table('meeting',
    sa.Column('interaction_id', sa.BigInteger(), nullable=False),
    sa.Column('uid', sa.Text(), nullable=False),
    sa.Column('organizer', sa.Text(), nullable=False),
    sa.Column('occurrence', sa.Text(), server_default='', nullable=False),
    sa.Column('ends_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('moved_from', sa.DateTime(timezone=True), nullable=True),
    sa.Column('is_all_day', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('is_recurring', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), server_default='', nullable=False),
    sa.Column('confirmed', sa.Text(), server_default='', nullable=False),
    sa.Column('said', sa.Text(), server_default='', nullable=False),
    sa.Column('said_by', sa.Text(), server_default='', nullable=False),
    sa.Column('summary', sa.Text(), server_default='', nullable=False),
    sa.Column('location', sa.Text(), server_default='', nullable=False),
    sa.Column('answers', postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('hidden', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.ForeignKeyConstraint(['interaction_id'], ['interaction.id'], name=op.f('fk_meeting_interaction_id')),
    sa.PrimaryKeyConstraint('interaction_id', name=op.f('pk_meeting')),
    sa.UniqueConstraint('uid', 'organizer', 'occurrence', name=op.f('uq_meeting_uid_organizer_occurrence'))
    )
    op.create_index(op.f('ix_meeting_ends_at'), 'meeting', ['ends_at'], unique=False)
    op.create_table('invitation',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('message_id', sa.BigInteger(), nullable=False),
    sa.Column('meeting_id', sa.BigInteger(), nullable=False),
    sa.Column('place', sa.Integer(), nullable=False),
    sa.Column('sent_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('told', postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.ForeignKeyConstraint(['message_id'], ['interaction.id'], name=op.f('fk_invitation_message_id')),
    sa.ForeignKeyConstraint(['meeting_id'], ['meeting.interaction_id'], name=op.f('fk_invitation_meeting_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_invitation')),
    sa.UniqueConstraint('message_id', 'place', name=op.f('uq_invitation_message_id_place'))
    )
    op.create_index(op.f('ix_invitation_meeting_id'), 'invitation', ['meeting_id'], unique=False)
