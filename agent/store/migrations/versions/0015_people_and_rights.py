"""Teams, second factors, other logins, who tried to log in"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint(op.f('fk_employee_team_id'), 'employee', type_='foreignkey')
    op.drop_column('employee', 'team_id')
    op.add_column('team', sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False))
    op.create_table('team_member',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('team_id', sa.BigInteger(), nullable=False),
    sa.Column('employee_id', sa.BigInteger(), nullable=False),
    sa.Column('valid_from', sa.DateTime(timezone=True), nullable=True),
    sa.Column('valid_to', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['employee_id'], ['employee.id'], name=op.f('fk_team_member_employee_id')),
    sa.ForeignKeyConstraint(['team_id'], ['team.id'], name=op.f('fk_team_member_team_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_team_member'))
    )
    op.create_index(op.f('ix_team_member_team_id'), 'team_member', ['team_id'], unique=False)
    op.create_index(op.f('ix_team_member_employee_id'), 'team_member', ['employee_id'], unique=False)
    op.create_table('team_supervisor',
    sa.Column('team_id', sa.BigInteger(), nullable=False),
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['account.id'], name=op.f('fk_team_supervisor_account_id')),
    sa.ForeignKeyConstraint(['team_id'], ['team.id'], name=op.f('fk_team_supervisor_team_id')),
    sa.PrimaryKeyConstraint('team_id', 'account_id', name=op.f('pk_team_supervisor'))
    )
    op.create_index(op.f('ix_team_supervisor_account_id'), 'team_supervisor', ['account_id'], unique=False)
    op.add_column('account', sa.Column('all_teams', sa.Boolean(), server_default=sa.text('true'), nullable=False))
    op.add_column('account', sa.Column('totp_secret', sa.LargeBinary(), nullable=True))
    op.add_column('account', sa.Column('totp_since', sa.DateTime(timezone=True), nullable=True))
    op.add_column('account', sa.Column('totp_step', sa.BigInteger(), nullable=True))
    op.add_column('account', sa.Column('recovery_codes', postgresql.ARRAY(sa.LargeBinary()), server_default=sa.text("'{}'::bytea[]"), nullable=False))
    op.add_column('account', sa.Column('oidc_subject', sa.Text(), nullable=True))
    op.add_column('account', sa.Column('last_login_at', sa.DateTime(timezone=True), nullable=True))
    op.create_unique_constraint(op.f('uq_account_oidc_subject'), 'account', ['oidc_subject'])
    op.create_table('account_invitation',
    sa.Column('token_hash', sa.LargeBinary(), nullable=False),
    sa.Column('account_id', sa.BigInteger(), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['account.id'], name=op.f('fk_account_invitation_account_id')),
    sa.PrimaryKeyConstraint('token_hash', name=op.f('pk_account_invitation'))
    )
    op.create_index(op.f('ix_account_invitation_account_id'), 'account_invitation', ['account_id'], unique=False)
    op.create_table('login_attempt',
    sa.Column('id', sa.BigInteger(), sa.Identity(always=True), nullable=False),
    sa.Column('key', sa.LargeBinary(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_login_attempt'))
    )
    op.create_index(op.f('ix_login_attempt_key_at'), 'login_attempt', ['key', 'at'], unique=False)
    op.create_index(op.f('ix_login_attempt_at'), 'login_attempt', ['at'], unique=False)
    op.create_table('company_setting',
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('value', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
    sa.Column('changed_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_company_setting'))
    )
    op.create_table('card_hold',
    sa.Column('client_card_id', sa.BigInteger(), nullable=False),
    sa.Column('reason', sa.Text(), server_default='', nullable=False),
    sa.Column('by', sa.Text(), server_default='', nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['client_card_id'], ['client_card.id'], name=op.f('fk_card_hold_client_card_id')),
    sa.PrimaryKeyConstraint('client_card_id', name=op.f('pk_card_hold'))
    )
    op.add_column('login_session', sa.Column('waits_for', sa.Text(), server_default='', nullable=False))
    op.add_column('login_session', sa.Column('address', sa.Text(), server_default='', nullable=False))
    op.add_column('login_session', sa.Column('browser', sa.Text(), server_default='', nullable=False))
    op.add_column('login_session', sa.Column('used_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False))
    op.create_index(op.f('ix_audit_entry_account_id'), 'audit_entry', ['account_id', sa.literal_column('id DESC')], unique=False)
    op.create_index(op.f('ix_audit_entry_action'), 'audit_entry', ['action', sa.literal_column('id DESC')], unique=False)
