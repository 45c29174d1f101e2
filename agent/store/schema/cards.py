"""Client cards, how to reach them, and which interactions stand on them."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Index, Table, Text, UniqueConstraint, text

from agent.store.schema.columns import identity, metadata, now, of, words

client_card = Table(
    "client_card",
    metadata,
    identity(),
    Column("kind", Text, nullable=False, server_default="person"),
    Column("name", Text, nullable=False),
    of("client_card", column="company_id", nullable=True),
    of("employee", column="responsible_id", nullable=True),
    now("created_at"),
    Index(None, "company_id"),
    Index(None, "responsible_id"),
    Index(None, "name"),
)

contact_point = Table(
    "contact_point",
    metadata,
    identity(),
    of("client_card"),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    words("label"),
    now("created_at"),
    UniqueConstraint("client_card_id", "kind", "value"),
    Index(None, "kind", "value"),
)

link = Table(
    "link",
    metadata,
    identity(),
    of("interaction"),
    of("client_card", nullable=True),
    Column("started_at", DateTime(timezone=True), nullable=False),  # of the interaction: a card's history in one index
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_by", Text, nullable=False, server_default="rule"),
    now("decided_at"),
    UniqueConstraint("interaction_id", "client_card_id", postgresql_nulls_not_distinct=True),
    Index("ix_link_history", "client_card_id", text("started_at DESC"), text("interaction_id DESC")),
    Index("ix_link_unsorted", "state", text("started_at DESC"), postgresql_where=text("client_card_id IS NULL")),
)
