"""Client cards, how to reach them, and which interactions stand on them."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Date,
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
from sqlalchemy.dialects.postgresql import ARRAY

from agent.store.schema.columns import identity, json, metadata, moment, now, of, words

client_card = Table(
    "client_card",
    metadata,
    identity(),
    Column("kind", Text, nullable=False, server_default="person"),
    Column("name", Text, nullable=False),
    of("client_card", column="company_id", nullable=True),
    of("employee", column="responsible_id", nullable=True),
    words("stage"),
    words("origin"),  # what made it, if no person did: csv, policy, crm:<name>
    of("client_card", column="merged_into_id", nullable=True),  # it turned out to be that one
    now("created_at"),
    Index(None, "company_id"),
    Index("ix_client_card_merged_into_id", "merged_into_id", postgresql_where=text("merged_into_id IS NOT NULL")),
    Index(None, "responsible_id"),
    Index(None, "name"),
    Index(  # those without an entry, by when they were made
        "ix_client_card_newest",
        text("created_at DESC"),
        text("id DESC"),
        postgresql_where=text("merged_into_id IS NULL"),
    ),
    Index(  # beginnings of the words of a name
        "ix_client_card_words",
        text("to_tsvector('simple', translate(lower(name), 'ё', 'е'))"),
        postgresql_using="gin",
    ),
)

contact_point = Table(
    "contact_point",
    metadata,
    identity(),
    of("client_card"),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    words("label"),
    now("created_at"),
    UniqueConstraint("client_card_id", "kind", "value"),
    Index(None, "kind", "value"),
    Index(  # any part of a number
        "ix_contact_point_parts",
        text("number_parts(value)"),
        postgresql_using="gin",
        postgresql_where=text("kind = 'phone'"),
    ),
)

link = Table(
    "link",
    metadata,
    identity(),
    of("interaction"),
    of("client_card", nullable=True),
    Column("started_at", DateTime(timezone=True), nullable=False),  # of the interaction: a card's history in one index
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("confidence", SmallInteger, nullable=False, server_default=text("100")),  # per cent
    json("candidates", "[]"),  # of an ambiguous one: [card, confidence, [reason, …]], the best first
    of("link_rule", nullable=True),  # by which decision of a person
    Column("decided_by", Text, nullable=False, server_default="rule"),
    now("decided_at"),
    UniqueConstraint("interaction_id", "client_card_id", postgresql_nulls_not_distinct=True),
    Index("ix_link_history", "client_card_id", text("started_at DESC"), text("interaction_id DESC")),
    Index(  # cards by their newest contact
        "ix_link_newest",
        text("started_at DESC"),
        text("client_card_id DESC"),
        postgresql_where=text("client_card_id IS NOT NULL"),
    ),
    Index("ix_link_private", "interaction_id", postgresql_where=text("state = 'private'")),
    Index("ix_link_unsorted", "state", text("started_at DESC"), postgresql_where=text("client_card_id IS NULL")),
    Index(  # what people have taken off a card or called private
        "ix_link_by_hand",
        "state",
        text("started_at DESC"),
        postgresql_where=text("client_card_id IS NULL AND decided_by <> 'rule'"),
    ),
)

link_rule = Table(  # what a person said of a number, an address or a domain, once for all
    "link_rule",
    metadata,
    identity(),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("decision", Text, nullable=False),  # card, private, ignore
    of("client_card", nullable=True),
    words("note"),
    Column("made_by", Text, nullable=False),
    now("made_at"),
    Column("revoked_by", Text),
    moment("revoked_at"),
    Index("ix_link_rule_in_force", "kind", "value", unique=True, postgresql_where=text("revoked_at IS NULL")),
    Index(None, "client_card_id"),
)

line_policy = Table(  # what becomes of unknown numbers that reach, or are reached by, one of our own
    "line_policy",
    metadata,
    identity(),
    Column("kind", Text, nullable=False),  # of our extension, number or address
    Column("value", Text, nullable=False),
    Column("unknown", Text, nullable=False),  # propose, create, ignore
    Column("made_by", Text, nullable=False),
    now("made_at"),
    UniqueConstraint("kind", "value"),
)

relink_run = Table(  # the past decided anew
    "relink_run",
    metadata,
    identity(),
    Column("subject", Text, nullable=False),
    of("client_card", nullable=True),  # on whose page it is shown
    Column("by", Text, nullable=False),
    now("started_at"),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False, server_default=text("0")),
    Column("changed", Integer, nullable=False, server_default=text("0")),
    Column("open_batches", ARRAY(Integer), nullable=False, server_default=text("'{}'::integer[]")),
    moment("finished_at"),
    Index("ix_relink_run_open", "client_card_id", postgresql_where=text("finished_at IS NULL")),
)

contact_proposal = Table(  # what the signature of a mail offers, and nobody has said yes or no to
    "contact_proposal",
    metadata,
    identity(),
    of("client_card"),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    words("label"),
    of("interaction"),  # in which mail it stands
    Column("state", Text, nullable=False, server_default="open"),  # open, taken, dismissed
    now("found_at"),
    UniqueConstraint("client_card_id", "kind", "value"),
    Index(None, "interaction_id"),
    Index("ix_contact_proposal_open", "id", postgresql_where=text("state = 'open'")),
)

task = Table(  # what is to be done for a client, and by whom
    "task",
    metadata,
    identity(),
    of("client_card"),
    of("interaction", nullable=True),  # in which it was promised
    of("employee", nullable=True),  # whose it is
    Column("text", Text, nullable=False),
    Column("due_on", Date),
    Column("made_by", Text, nullable=False),
    now("made_at"),
    Column("done_by", Text),
    moment("done_at"),
    Index(None, "client_card_id"),
    Index("ix_task_interaction_id", "interaction_id", postgresql_where=text("interaction_id IS NOT NULL")),
    Index("ix_task_open", "due_on", "id", postgresql_where=text("done_at IS NULL")),
    Index("ix_task_open_of_employee", "employee_id", "due_on", "id", postgresql_where=text("done_at IS NULL")),
    Index("ix_task_done", "done_at", postgresql_where=text("done_at IS NOT NULL")),
)

card_note = Table(
    "card_note",
    metadata,
    identity(),
    of("client_card"),
    Column("text", Text, nullable=False),
    Column("by", Text, nullable=False),
    now("at"),
    Index(None, "client_card_id"),
)

card_stage = Table(  # when a card came to a stage
    "card_stage",
    metadata,
    identity(),
    of("client_card"),
    words("stage"),
    Column("by", Text, nullable=False),
    now("at"),
    Index(None, "client_card_id"),
)

card_merge = Table(  # two cards became one; what moved, so that it can be taken back
    "card_merge",
    metadata,
    identity(),
    of("client_card", column="kept_id"),
    of("client_card", column="gone_id"),
    Column("by", Text, nullable=False),
    now("at"),
    json("moved"),
    Column("undone_by", Text),
    moment("undone_at"),
    Index(None, "kept_id"),
    Index(None, "gone_id"),
)

distinct_cards = Table(  # proposed as duplicates, and a person said that they are two
    "distinct_cards",
    metadata,
    of("client_card", column="first_id", primary_key=True),
    of("client_card", column="second_id", primary_key=True),
    Column("by", Text, nullable=False),
    now("at"),
    Index(None, "second_id"),
)

card_import = Table(  # a list of cards that was uploaded; its content goes with the decision about it
    "card_import",
    metadata,
    identity(),
    Column("name", Text, nullable=False),
    Column("by", Text, nullable=False),
    now("at"),
    Column("content", LargeBinary),
    json("plan"),  # encoding, separator, columns
    json("report"),
    Column("applied", Boolean, nullable=False, server_default=text("false")),
)
