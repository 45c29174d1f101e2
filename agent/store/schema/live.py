"""What was understood of a call while it went on, until its recording is transcribed."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, Table, Text

from agent.store.schema.columns import metadata, moment, now

live_answer = Table(  # gone once the transcript is there, and after a day
    "live_answer",
    metadata,
    Column("capture_id", Text, ForeignKey("capture.id"), primary_key=True),
    Column("key", LargeBinary, primary_key=True),  # a keyed digest of the very samples that were heard
    Column("answer", LargeBinary, nullable=False),  # sealed: it says what was said before anything is masked in it
    moment("begins_at", nullable=False),  # of the sound
    moment("ends_at", nullable=False),
    now("created_at"),
    Index(None, "created_at"),
)
