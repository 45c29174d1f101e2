"""What virtual PBXs told, the recordings they keep, and how each of them is."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text, UniqueConstraint, text

from agent.store.schema.columns import identity, metadata, moment, now, of, words

notification = Table(  # each request, and each line of statistics, as it came
    "notification",
    metadata,
    identity(),
    Column("provider", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # of all that came: the same thing said again is no second row
    Column("origin", Text, nullable=False),  # hook, poll
    words("tail"),  # path behind the provider's own, without a token
    words("query"),
    words("content_type"),
    Column("body", LargeBinary, nullable=False),
    now("received_at"),
    Column("state", Text, nullable=False),  # stored, read, ignored, unreadable
    Column("call_key", Text),
    UniqueConstraint("provider", "digest"),
    Index("ix_notification_call", "provider", "call_key", postgresql_where=text("call_key IS NOT NULL")),
    Index("ix_notification_stored", "id", postgresql_where=text("state = 'stored'")),
)

provider_call = Table(  # calls that a provider has told of
    "provider_call",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("call_key", Text, primary_key=True),
    Column("state", Text, nullable=False),  # waiting (nobody has said who and when), open, ended
    moment("told_at", nullable=False),
    Column("noted_upto", BigInteger, nullable=False, server_default=text("0")),  # id of its last notification
    Column(
        "read_upto", BigInteger, nullable=False, server_default=text("0")
    ),  # of the last that the call was made with
    Index("ix_provider_call_unsettled", "provider", "told_at", postgresql_where=text("state <> 'ended'")),
    Index("ix_provider_call_interrupted", "told_at", postgresql_where=text("read_upto < noted_upto")),
)

provider_recording = Table(
    "provider_recording",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("call_key", Text, primary_key=True),
    Column("reference", Text, primary_key=True),  # its name at the provider
    words("url"),
    Column("state", Text, nullable=False),  # waiting, kept, given_up
    Column("attempts", SmallInteger, nullable=False, server_default=text("0")),
    now("due_at"),
    moment("expires_at", nullable=False),
    words("problem"),
    Column("channels", SmallInteger),
    of("interaction", nullable=True),
    Index("ix_provider_recording_due", "due_at", postgresql_where=text("state = 'waiting'")),
)

provider_status = Table(
    "provider_status",
    metadata,
    Column("provider", Text, primary_key=True),
    moment("told_at"),  # the last notification that was believed
    Column("refused", BigInteger, nullable=False, server_default=text("0")),  # requests with a wrong signature
    moment("refused_at"),
    moment("claimed_at"),  # when somebody last began to ask for the statistics
    moment("polled_at"),  # when they last came
    moment("polled_until"),  # how far they were read
    words("poll_problem"),
)
