"""Transcriptions in work: how far they are, and what was recognised already, so that one cut off goes on there."""

from __future__ import annotations

from sqlalchemy import Column, Integer, LargeBinary, SmallInteger, Table, Text

from agent.store.schema.columns import metadata, now, of

transcription = Table(  # gone once its transcript is there
    "transcription",
    metadata,
    of("recording", primary_key=True),
    Column("model", Text, nullable=False),
    Column("host", Text, nullable=False),  # whose worker does it
    Column("speech_ms", Integer, nullable=False),  # to be recognised, of all channels together
    Column("done_ms", Integer, nullable=False),
    Column("tries", SmallInteger, nullable=False),  # tried so often without getting any further
    now("started_at"),
    now("updated_at"),
)

answered_window = Table(  # gone once its transcript is there
    "answered_window",
    metadata,
    of("recording", primary_key=True),
    Column("window", LargeBinary, primary_key=True),  # a digest of model, language, channel and pieces
    Column("answer", LargeBinary, nullable=False),  # sealed: it says what was said before anything is masked in it
)
