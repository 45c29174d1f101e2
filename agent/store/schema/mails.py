"""Messages, their threads and attachments."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, SmallInteger, Table, Text, UniqueConstraint

from agent.store.schema.columns import identity, json, metadata, of, words

thread = Table("thread", metadata, identity(), words("subject"))

thread_reference = Table(
    "thread_reference",
    metadata,
    Column("message_id", Text, primary_key=True),
    of("thread"),
    Index(None, "thread_id"),
)

message = Table(
    "message",
    metadata,
    of("interaction", primary_key=True),
    Column("logical_key", Text, nullable=False, unique=True),
    of("thread"),
    words("message_id"),
    words("subject"),
    Column("category", Text, nullable=False),
    words("category_reason"),
    words("text"),
    words("html"),
    json("spans", "[]"),  # stretches of the text: [kind, start, end]
    json("facts"),  # mails attached as mails, invitations, protection, as in `agent.model`
    Index(None, "thread_id"),
)

attachment = Table(
    "attachment",
    metadata,
    identity(),
    of("interaction"),
    Column("part", SmallInteger, nullable=False),  # its number in the sealed mail
    Column("name", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    words("sniffed_type"),
    words("content_id"),
    words("text"),  # its words, for search
    words("text_state"),  # empty: they were not read yet
    words("text_problem"),
    UniqueConstraint("interaction_id", "part"),
)
