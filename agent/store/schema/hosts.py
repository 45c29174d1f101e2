"""The machines that record, and when each was last heard."""

from __future__ import annotations

from sqlalchemy import Column, Table, Text

from agent.store.schema.columns import metadata, now

host = Table(
    "host",
    metadata,
    Column("name", Text, primary_key=True),
    now("heard_at"),
)
