"""Meetings, and what mails have said of each."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, Index, Integer, Table, Text, UniqueConstraint, text

from agent.store.schema.columns import identity, json, metadata, moment, of, words

meeting = Table(
    "meeting",
    metadata,
    of("interaction", primary_key=True),
    Column("uid", Text, nullable=False),
    Column("organizer", Text, nullable=False),  # a digest of the address, to be found by
    words("occurrence"),  # of a series: which one, as the calendar names it; empty: the whole
    moment("ends_at"),
    moment("moved_from"),
    Column("is_all_day", Boolean, nullable=False, server_default=text("false")),
    Column("is_recurring", Boolean, nullable=False, server_default=text("false")),
    Column("state", Text, nullable=False),
    words("reason"),
    words("confirmed"),  # what says that it takes or took place; empty: nothing does
    words("said"),  # by a person: held, not_held
    words("said_by"),
    words("summary"),
    words("location"),
    json("answers"),  # address: accepted, declined, tentative, proposed
    Column("hidden", Boolean, nullable=False, server_default=text("false")),  # only private mails tell of it
    UniqueConstraint("uid", "organizer", "occurrence"),
    Index(None, "ends_at"),
    Index("ix_meeting_hidden", "interaction_id", postgresql_where=text("hidden")),
)

invitation = Table(  # what one mail says of a meeting; the meeting is made of all of these, whatever their order
    "invitation",
    metadata,
    identity(),
    of("interaction", column="message_id"),
    of("meeting", refers="interaction_id"),
    Column("place", Integer, nullable=False),
    Column("sent_at", DateTime(timezone=True), nullable=False),
    json("told"),  # agent.model_mail.ParsedInvitation
    UniqueConstraint("message_id", "place"),
    Index(None, "meeting_id"),
)
