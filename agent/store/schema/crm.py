"""CRMs: what is to be told to them, and the mirror of what they hold. *Over there* is the CRM."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, LargeBinary, Numeric, Table, Text, UniqueConstraint, text

from agent.store.schema.columns import identity, json, metadata, moment, now, of, words

connector = Table(
    "connector",
    metadata,
    identity(),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    now("since"),  # what began before is told on demand only
    Column("delivers", Boolean, nullable=False, server_default=text("true")),  # it is in the settings and tells
    words("state"),  # of `agent.model.SourceState`
    words("problem"),
    moment("paused_until"),  # the circuit is open, or it asked us to wait
    Column("failures", Integer, nullable=False, server_default=text("0")),  # in a row, of different deliveries
    moment("succeeded_at"),
    Column("secrets", LargeBinary),  # tokens that it gives anew each time, encrypted under the master key
    words("cursor"),  # of the mirror
    moment("read_at"),
    words("read_problem"),
)

# What a CRM should hold of an interaction on one card. The version wanted grows with every change of it; where it is
# more than the version told, the delivery waits.
delivery = Table(
    "delivery",
    metadata,
    identity(),
    of("connector"),
    of("interaction", nullable=True),  # NULL: it became part of another one, or was taken apart
    of("client_card", nullable=True),
    moment("started_at", nullable=False),  # of the interaction: the order on a card
    Column("key", Text, nullable=False, unique=True),  # ours, written into the object over there
    Column("wanted", Integer, nullable=False, server_default=text("1")),
    Column("told", Integer, nullable=False, server_default=text("0")),
    Column("withdrawn", Boolean, nullable=False, server_default=text("false")),  # it should hold nothing of it
    Column("state", Text, nullable=False, server_default="waiting"),  # waiting, unready, done, failed, dropped
    moment("due_at"),
    moment("leased_until"),
    Column("begun", Boolean, nullable=False, server_default=text("false")),  # an attempt whose answer is not known
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    moment("tried_at"),
    Column("failure", Text),  # class of the error it was given up for
    words("problem"),
    words("remedy"),
    json("logged"),  # what the CRM made of it
    json("parts"),  # digests of what was told of each part
    now("created_at"),
    moment("done_at"),
    UniqueConstraint("connector_id", "interaction_id", "client_card_id"),
    Index(
        "ix_delivery_waiting",
        "connector_id",
        "due_at",
        "started_at",
        "id",
        postgresql_where=text("state = 'waiting'"),
    ),
    Index(
        "ix_delivery_order",
        "connector_id",
        "client_card_id",
        "started_at",
        "id",
        postgresql_where=text("state = 'waiting'"),
    ),
    Index("ix_delivery_failed", "connector_id", "tried_at", postgresql_where=text("state = 'failed'")),
    Index(None, "interaction_id"),
    Index(None, "client_card_id"),
)

# A link to a recording that a CRM was given: it lives until it is revoked, with the recording at the latest.
recording_share = Table(
    "recording_share",
    metadata,
    identity(),
    of("recording"),
    of("delivery"),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    now("created_at"),
    moment("revoked_at"),
    UniqueConstraint("recording_id", "delivery_id"),
)

crm_card = Table(
    "crm_card",
    metadata,
    identity(),
    of("connector"),
    Column("kind", Text, nullable=False),  # the CRM's own word: contact, lead, party
    Column("external_id", Text, nullable=False),
    of("client_card", nullable=True),
    words("name"),
    json("identities", "[]"),  # [kind, value]: which contact points of the card are from here
    words("responsible"),  # a user's id over there
    moment("gone_at"),
    Column("merged_into", Text),  # external id, of the same kind
    Column("is_erased", Boolean, nullable=False, server_default=text("false")),  # here: it is not learnt again
    now("seen_at"),
    UniqueConstraint("connector_id", "kind", "external_id"),
    Index(None, "client_card_id"),
)

crm_user = Table(
    "crm_user",
    metadata,
    identity(),
    of("connector"),
    Column("external_id", Text, nullable=False),
    words("name"),
    words("address"),
    words("extension"),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    of("employee", nullable=True),
    Column("mapped_by", Text),  # a login, or rule
    UniqueConstraint("connector_id", "external_id"),
    Index(None, "employee_id"),
)

crm_stage = Table(
    "crm_stage",
    metadata,
    identity(),
    of("connector"),
    words("pipeline"),
    Column("external_id", Text, nullable=False),
    words("name"),
    words("pipeline_name"),
    Column("place", Integer, nullable=False),
    Column("state", Text, nullable=False),
    UniqueConstraint("connector_id", "pipeline", "external_id"),
)

deal = Table(
    "deal",
    metadata,
    identity(),
    of("connector"),
    Column("kind", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    of("crm_card", nullable=True),
    words("title"),
    words("pipeline"),
    words("stage"),
    Column("state", Text, nullable=False),  # open, won, lost
    Column("amount", Numeric(20, 4)),
    words("currency"),
    words("source"),
    words("loss_reason"),
    words("responsible"),
    moment("created_at"),
    moment("closed_at"),
    moment("gone_at"),
    now("seen_at"),
    UniqueConstraint("connector_id", "kind", "external_id"),
    Index(None, "crm_card_id"),
)

deal_stage = Table(  # when a deal came to a stage
    "deal_stage",
    metadata,
    identity(),
    of("deal"),
    Column("stage", Text, nullable=False),
    moment("at", nullable=False),
    UniqueConstraint("deal_id", "stage", "at"),
)
