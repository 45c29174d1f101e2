"""How far each source has come, and how it is."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text

from agent.store.schema.columns import metadata, now, words

mailbox_folder = Table(
    "mailbox_folder",
    metadata,
    Column("mailbox", Text, primary_key=True),
    Column("folder", Text, primary_key=True),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("low_uid", BigInteger, nullable=False),  # everything from here …
    Column("high_uid", BigInteger, nullable=False),  # … up to here is archived
)

source_status = Table(
    "source_status",
    metadata,
    Column("source", Text, primary_key=True),
    Column("state", Text, nullable=False),
    words("detail"),
    now("changed_at"),
)
