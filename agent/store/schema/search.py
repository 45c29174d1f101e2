"""The index of everything that was said and written, and the searches that people keep."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, SmallInteger, Table, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import TSVECTOR

from agent.store.schema.columns import identity, metadata, moment, now, of

search_entry = Table(  # made anew from what it is about whenever that changes; nothing is kept only here
    "search_entry",
    metadata,
    identity(),
    Column("interaction_id", BigInteger, ForeignKey("interaction.id", ondelete="CASCADE")),
    Column(
        "part", SmallInteger, nullable=False, server_default=text("0")
    ),  # 0, or 1 and the number of an attached file
    Column("card_note_id", BigInteger, ForeignKey("card_note.id", ondelete="CASCADE")),  # of a card, not of an entry
    moment("started_at", nullable=False),
    Column("words", TSVECTOR, nullable=False),  # word forms, ends of numbers, and the week
    UniqueConstraint("interaction_id", "part"),
    Index("ix_search_entry_words", "words", postgresql_using="gin", postgresql_with={"gin_pending_list_limit": "1024"}),
    Index(
        "ix_search_entry_card_note_id",
        "card_note_id",
        unique=True,
        postgresql_where=text("card_note_id IS NOT NULL"),
    ),
)

search_due = Table(  # interactions whose words have changed; the newest row first
    "search_due",
    metadata,
    identity(),
    Column("interaction_id", BigInteger, nullable=False),  # no reference: it may be gone by then
)

saved_search = Table(
    "saved_search",
    metadata,
    identity(),
    of("account"),
    Column("name", Text, nullable=False),
    Column("query", Text, nullable=False),  # the part of the address behind the question mark
    now("at"),
    UniqueConstraint("account_id", "name"),
)
