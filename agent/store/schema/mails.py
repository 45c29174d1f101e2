"""Messages, their threads and attachments, and the rules by which they are sorted."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from agent.store.schema.columns import identity, json, metadata, moment, now, of, packed_words, words

thread = Table("thread", metadata, identity(), words("subject"))

thread_reference = Table(
    "thread_reference",
    metadata,
    Column("message_id", Text, primary_key=True),
    of("thread"),
    Index(None, "thread_id"),
)

# Mails between the same two people under the same subject: how an answer without ids finds what it answers.
thread_subject = Table(
    "thread_subject",
    metadata,
    identity(),
    of("thread"),
    Column("key", LargeBinary, nullable=False),  # digest of the subject and the two addresses
    Column("sent_at", DateTime(timezone=True), nullable=False),
    Column("is_answer", Boolean, nullable=False),  # it says "Re:" and names no mail
    Index(None, "key", "sent_at"),
    Index(None, "thread_id"),
)

message = Table(
    "message",
    metadata,
    of("interaction", primary_key=True),
    Column("logical_key", Text, nullable=False, unique=True),
    Column("id_key", Text),  # what mails have in common that share an id and are different mails
    of("thread"),
    words("message_id"),
    words("subject"),
    Column("category", Text, nullable=False),  # by the rules
    words("category_reason"),
    Column("marked", Text, nullable=False, server_default="conversation"),  # by its own header
    words("marked_reason"),
    json("tags", "[]"),  # [tag, reason]: what else rules say it is
    words("returned_id"),  # of a bounce: the id of the mail that came back
    words("text"),
    packed_words("html"),
    json("spans", "[]"),  # stretches of the text: [kind, start, end]
    json("facts"),  # mails attached as mails, invitations, protection, headers for rules, as in `agent.model`
    Index(None, "thread_id"),
    Index("ix_message_id_key", "id_key", postgresql_where=text("id_key IS NOT NULL")),
    Index("ix_message_private", "interaction_id", postgresql_where=text("category = 'private'")),
    Index("ix_message_returned", "returned_id", postgresql_where=text("returned_id <> ''")),
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
    Index("ix_attachment_unread", "interaction_id", postgresql_where=text("text_state = ''")),
)

mail_rule = Table(  # the first rule that fits decides the category; each fitting one gives its tag
    "mail_rule",
    metadata,
    identity(),
    Column("place", Integer, nullable=False),
    Column("name", Text, nullable=False),
    words("preset"),  # which of those that come with the program it is; empty: made here
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("category", Text),  # either …
    Column("tag", Text),  # … or
    json("conditions"),  # field: [values]; all fields must fit, one value of each
)

rule_run = Table(  # all mails sorted anew
    "rule_run",
    metadata,
    identity(),
    Column("by", Text, nullable=False),
    now("started_at"),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False, server_default=text("0")),
    Column("changed", Integer, nullable=False, server_default=text("0")),
    Column("next_id", BigInteger, nullable=False, server_default=text("0")),  # mails before it are done
    Column("last_id", BigInteger, nullable=False),
    moment("finished_at"),
)
