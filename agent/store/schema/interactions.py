"""What calls, mails and meetings have in common: the interaction and its parties."""

from __future__ import annotations

from sqlalchemy import Column, Index, SmallInteger, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY

from agent.store.schema.columns import identity, metadata, moment, now, of, words

interaction = Table(
    "interaction",
    metadata,
    identity(),
    Column("kind", Text, nullable=False),
    moment("started_at", nullable=False),
    Column("direction", Text),  # NULL until linked
    Column("conversation_key", Text),
    Column("flags", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    now("created_at"),
    of("erasure", nullable=True),  # the act by which what it held was erased; what is left is a tombstone
    Index(None, "started_at"),
    Index("ix_interaction_flagged", text("started_at DESC"), postgresql_where=text("flags <> '{}'::text[]")),
    Index("ix_interaction_conversation_key", "conversation_key", postgresql_where=text("conversation_key IS NOT NULL")),
)

party = Table(
    "party",
    metadata,
    identity(),
    of("interaction"),
    Column("ordinal", SmallInteger, nullable=False),
    Column("position", Text, nullable=False),
    Column("kind", Text, nullable=False),  # as captured
    Column("value", Text, nullable=False),  # as captured
    words("name"),
    Column("channel", SmallInteger),
    moment("joined_at"),
    moment("left_at"),
    Column("identity_kind", Text),  # decided by the linker, like the rest
    Column("identity_value", Text),
    Column("role", Text),
    of("employee", nullable=True),
    Column("credited_by", Text),  # who gave it to this employee by hand
    UniqueConstraint("interaction_id", "ordinal"),
    Index(None, "identity_kind", "identity_value"),
    Index("ix_party_of_employee", "employee_id", "interaction_id", postgresql_where=text("employee_id IS NOT NULL")),
    Index(
        "ix_party_nobodys",
        "identity_value",
        postgresql_where=text("identity_kind = 'extension' AND employee_id IS NULL"),
    ),
)
