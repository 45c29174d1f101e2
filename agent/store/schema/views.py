"""What each source told of a call, and the numbers by which another source's telling of it is found."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Table, Text, text

from agent.store.schema.columns import json, metadata, moment, of

call_view = Table(
    "call_view",
    metadata,
    of("evidence", primary_key=True),
    json("told"),  # agent.store.told.Told
    Column("kept_apart", Boolean, nullable=False, server_default=text("false")),  # a person said it is another call
)

call_number = Table(
    "call_number",
    metadata,
    of("evidence", primary_key=True),
    Column("tail", Text, primary_key=True),  # last digits: what numbers that agree have in common
    moment("started_at", nullable=False),
    Index(None, "tail", "started_at"),
)
