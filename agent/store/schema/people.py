"""Who works here, who may log in, and what was done by whom."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, LargeBinary, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY

from agent.store.schema.columns import identity, json, metadata, moment, now, of, words

team = Table("team", metadata, identity(), Column("name", Text, nullable=False, unique=True), now("created_at"))

employee = Table("employee", metadata, identity(), Column("name", Text, nullable=False), now("created_at"))

team_member = Table(  # who is in a team, from when (inclusive) to when (exclusive); NULL is open
    "team_member",
    metadata,
    identity(),
    of("team"),
    of("employee"),
    moment("valid_from"),
    moment("valid_to"),
    Index(None, "team_id"),
    Index(None, "employee_id"),
)

team_supervisor = Table(
    "team_supervisor",
    metadata,
    of("team", primary_key=True),
    of("account", primary_key=True),
    Index(None, "account_id"),
)

employee_identity = Table(
    "employee_identity",
    metadata,
    identity(),
    of("employee", nullable=True),  # NULL: nobody's on purpose, a shared phone or a fax
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    words("label"),  # what it is, if it is nobody's
    moment("valid_from"),
    moment("valid_to"),
    Index(None, "kind", "value"),
    Index(None, "employee_id"),
)

extension_proposal = Table(
    "extension_proposal",
    metadata,
    identity(),
    Column("source", Text, nullable=False),  # asterisk:office, provider:zadarma, pasted
    Column("extension", Text, nullable=False),
    words("name"),  # as the source has it
    Column("state", Text, nullable=False),  # open, taken, dismissed
    now("first_seen"),
    now("last_seen"),
    UniqueConstraint("source", "extension"),
    Index("ix_extension_proposal_open", "extension", postgresql_where=text("state = 'open'")),
)

account = Table(
    "account",
    metadata,
    identity(),
    Column("login", Text, nullable=False, unique=True),
    words("name"),
    Column("password_hash", Text, nullable=False),  # empty: no password opens it
    Column("role", Text, nullable=False),
    of("employee", nullable=True),
    Column("all_teams", Boolean, nullable=False, server_default=text("true")),  # of a supervisor: sees everything
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    Column("totp_secret", LargeBinary),  # encrypted under a key that the master key gives
    moment("totp_since"),  # NULL: not confirmed by a code yet
    Column("totp_step", BigInteger),  # the newest step of time whose code was used: none is taken twice
    Column("recovery_codes", ARRAY(LargeBinary), nullable=False, server_default=text("'{}'::bytea[]")),  # SHA-256
    Column("oidc_subject", Text, unique=True),  # issuer and subject of whoever comes from the other login
    moment("last_login_at"),
    now("created_at"),
)

account_invitation = Table(  # links by which somebody chooses a password, once
    "account_invitation",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    of("account"),
    moment("expires_at", nullable=False),
    Index(None, "account_id"),
)

login_attempt = Table(  # who tried to log in; only the last minutes are kept
    "login_attempt",
    metadata,
    identity(),
    Column("key", LargeBinary, nullable=False),  # keyed digest of an address, a name, or both
    now("at"),
    Index(None, "key", "at"),
    Index(None, "at"),
)

company_setting = Table(  # what administrators decide on pages: retention, the guide
    "company_setting",
    metadata,
    Column("name", Text, primary_key=True),
    json("value"),
    now("changed_at"),
)

card_hold = Table(  # nothing of this card is erased by age
    "card_hold",
    metadata,
    of("client_card", primary_key=True),
    words("reason"),
    words("by"),
    now("at"),
)

login_session = Table(
    "login_session",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    of("account"),
    Column("csrf_token", Text, nullable=False),
    words("waits_for"),  # code, enrolment: a second factor is still to come; empty: it is a login
    words("address"),
    words("browser"),
    now("created_at"),
    now("used_at"),
    moment("expires_at", nullable=False),
    Index(None, "account_id"),
)

api_token = Table(
    "api_token",
    metadata,
    identity(),
    Column("token_hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of the token, which is shown once
    Column("name", Text, nullable=False, unique=True),
    Column("scopes", ARRAY(Text), nullable=False),
    of("account", nullable=True),  # whose rights it has; NULL: a supervisor's
    now("created_at"),
    moment("used_at"),
    moment("revoked_at"),
)

audit_entry = Table(
    "audit_entry",
    metadata,
    identity(),
    now("at"),
    of("account", nullable=True),
    Column("action", Text, nullable=False),
    json("subject"),
    Index(None, "at"),
    Index("ix_audit_entry_account_id", "account_id", text("id DESC")),
    Index("ix_audit_entry_action", "action", text("id DESC")),
)
