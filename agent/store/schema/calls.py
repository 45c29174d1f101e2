"""Calls, their captures and commands, recordings, transcripts."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from agent.store.schema.columns import identity, json, metadata, moment, now, of, words

call = Table(
    "call",
    metadata,
    of("interaction", primary_key=True),
    moment("answered_at"),
    moment("ended_at"),
    Column("disposition", Text, nullable=False),
    Column("truncated", Boolean, nullable=False, server_default=text("false")),
    Index("ix_call_in_progress", "interaction_id", postgresql_where=text("disposition = 'in_progress'")),
)

capture = Table(
    "capture",
    metadata,
    Column("id", Text, primary_key=True),  # name of the folder of packet logs
    of("interaction"),
    Column("host", Text, nullable=False),
    Column("state", Text, nullable=False),  # open, closed, assembled
    Column("truncated", Boolean, nullable=False, server_default=text("false")),
    moment("paused_at"),  # set while nothing is recorded on purpose
    of("evidence", nullable=True),  # by whose account there is something to record
    Index(None, "interaction_id"),
    Index("ix_capture_open", "interaction_id", postgresql_where=text("state = 'open'")),
)

call_command = Table(
    "call_command",
    metadata,
    identity(),
    Column("capture_id", Text, ForeignKey("capture.id"), nullable=False),
    Column("host", Text, nullable=False),  # whose recorder holds the call
    Column("kind", Text, nullable=False),  # pause, resume
    Column("by", Text, nullable=False),  # login, or name of the API token
    now("asked_at"),
    moment("done_at"),
    words("problem"),
    Index(None, "capture_id"),
    Index("ix_call_command_open", "host", "id", postgresql_where=text("done_at IS NULL")),
)

recording = Table(
    "recording",
    metadata,
    identity(),
    of("interaction"),
    Column("capture_id", Text, ForeignKey("capture.id"), unique=True),  # NULL: made from a sound file …
    Column("reference", Text),  # … which its source calls so; file:… is the digest of its content, known everywhere
    of("blob"),
    moment("started_at", nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("channels", SmallInteger, nullable=False),
    Column("sample_rate", Integer, nullable=False),
    json("gaps", "[]"),
    Column("truncated", Boolean, nullable=False, server_default=text("false")),
    Column("mixed", Boolean, nullable=False, server_default=text("false")),  # all parties on one channel
    of("evidence", nullable=True),  # NULL: that of its capture
    Index(None, "interaction_id"),
    UniqueConstraint("interaction_id", "reference"),
    Index("ix_recording_file", "reference", unique=True, postgresql_where=text("reference LIKE 'file:%'")),
)

recording_mark = Table(
    "recording_mark",
    metadata,
    identity(),
    of("recording"),
    Column("kind", Text, nullable=False),
    Column("channel", SmallInteger),  # null: all of them
    Column("start_ms", Integer, nullable=False),
    Column("end_ms", Integer, nullable=False),
    words("text"),
    Index(None, "recording_id", "start_ms"),
)

kept_log = Table(  # packet logs that hold what could not be decoded, sealed as they came
    "kept_log",
    metadata,
    Column("capture_id", Text, ForeignKey("capture.id"), primary_key=True),
    of("blob"),
)

transcript = Table(
    "transcript",
    metadata,
    identity(),
    of("recording"),
    of("interaction"),
    Column("model", Text, nullable=False),
    Column("round", SmallInteger, nullable=False, server_default=text("0")),  # asked for again: once more by this model
    words("language"),
    Column("separated", Boolean, nullable=False, server_default=text("true")),  # a channel is a party
    json("dropped", "[]"),  # what was not believed: channel, start, end, text, reason
    now("created_at"),
    now("shown_at"),  # when it came to be, or was chosen; of a recording's the latest is shown
    UniqueConstraint("recording_id", "model", "round"),
    Index(None, "interaction_id"),
)

utterance = Table(
    "utterance",
    metadata,
    identity(),
    of("transcript"),
    Column("channel", SmallInteger, nullable=False),
    Column("start_ms", Integer, nullable=False),
    Column("end_ms", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("confidence", Integer, nullable=False),  # per cent
    Column("interrupts", Boolean, nullable=False, server_default=text("false")),
    json("words", "[]"),
    Index(None, "transcript_id", "start_ms"),
)

recording_outline = Table(  # how loud it is, for drawing: made of the sound when somebody first looks
    "recording_outline",
    metadata,
    of("recording", primary_key=True),
    Column("bucket_ms", Integer, nullable=False),
    Column("peaks", LargeBinary, nullable=False),  # a byte a bucket, channel after channel
)

comment = Table(
    "comment",
    metadata,
    identity(),
    of("interaction"),
    of("recording", nullable=True),
    Column("at_ms", Integer),  # within the recording; NULL: of the whole call
    Column("text", Text, nullable=False),
    of("account"),
    now("created_at"),
    moment("removed_at"),  # its text is empty then
    Index(None, "interaction_id"),
)

utterance_correction = Table(  # what a person says was said; the machine's words stay where they are
    "utterance_correction",
    metadata,
    identity(),
    of("utterance"),
    Column("text", Text, nullable=False),
    Column("by", Text, nullable=False),  # login, or name of the API token
    now("at"),
    words("ended_by"),
    moment("ended_at"),  # corrected again, or taken back
    Index(None, "utterance_id"),
    Index("ix_utterance_correction_current", "utterance_id", unique=True, postgresql_where=text("ended_at IS NULL")),
)
