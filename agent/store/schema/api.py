"""What programs that follow the API need: when an interaction last changed, what a repeated request was answered."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text

from agent.store.schema.columns import identity, metadata, moment, now, words

interaction_change = Table(
    "interaction_change",
    metadata,
    # No reference: of an interaction that became another one, what is left is that it changed.
    Column("interaction_id", BigInteger, primary_key=True, autoincrement=False),
    moment("changed_at", nullable=False),  # by the clock at the change, not at the start of its transaction
    Index(None, "changed_at", "interaction_id"),
)

api_reply = Table(  # of requests with an Idempotency-Key: where what they made lies, and nothing of its content
    "api_reply",
    metadata,
    identity(),
    Column("owner", Text, nullable=False),  # the token or account that asked
    Column("key", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),  # SHA-256 of method, path and body
    Column("status", SmallInteger, nullable=False),
    words("location"),
    words("content"),
    now("at"),
    Index("ix_api_reply_key", "owner", "key", unique=True),
    Index(None, "at"),
)
