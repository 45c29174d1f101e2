"""Who works here, who may log in, and what was done by whom."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, LargeBinary, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY

from agent.store.schema.columns import identity, json, metadata, moment, now, of, words

team = Table("team", metadata, identity(), Column("name", Text, nullable=False, unique=True))

employee = Table(
    "employee",
    metadata,
    identity(),
    Column("name", Text, nullable=False),
    of("team", nullable=True),
    now("created_at"),
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
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    of("employee", nullable=True),
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    now("created_at"),
)

login_session = Table(
    "login_session",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    of("account"),
    Column("csrf_token", Text, nullable=False),
    now("created_at"),
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
)
