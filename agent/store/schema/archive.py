"""Sealed blobs, the chain that proves them, and the evidence that sources delivered."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from agent.store.schema.columns import identity, json, metadata, moment, now, of, words

blob = Table(
    "blob",
    metadata,
    identity(),
    Column("name", Text, nullable=False, unique=True),  # SHA-256 of the stored bytes, hex
    Column("media_type", Text, nullable=False),
    Column("plain_size", BigInteger, nullable=False),
    Column("stored_size", BigInteger, nullable=False),
    Column("salted_digest", LargeBinary, nullable=False),  # SHA-256(salt || plain bytes)
    Column("master_key", SmallInteger, nullable=False),  # number of the key that wraps data key and salt
    Column("wrapped_key", LargeBinary),  # NULL once erased
    Column("source", Text, nullable=False),
    now("created_at"),
    moment("erased_at"),
    Column("chained", Boolean, nullable=False, server_default=text("false")),
    now("checked_at"),  # when its stored bytes were last known to be what they should be
    words("fault"),  # what was wrong when they were re-read
    Index("ix_blob_checked", "checked_at"),
    Index("ix_blob_faulty", "id", postgresql_where=text("fault <> ''")),
    Index("ix_blob_unchained", "id", postgresql_where=text("NOT chained")),
)

chain_link = Table(
    "chain_link",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    of("blob", nullable=True),  # the link is of a blob …
    of("erasure", nullable=True),  # … or of an act of erasure
    Column("previous", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    moment("chained_at", nullable=False),
    UniqueConstraint("blob_id"),
    UniqueConstraint("erasure_id"),
)

evidence = Table(
    "evidence",
    metadata,
    identity(),
    Column("source", Text, nullable=False),
    Column("key", Text, nullable=False),
    of("blob", nullable=True),
    Column("fingerprint", LargeBinary),  # keyed digest of the plain bytes: the same content of the same source, once
    json("details"),
    moment("received_at", nullable=False),
    Column("state", Text, nullable=False),
    words("problem"),
    of("interaction", nullable=True),
    UniqueConstraint("source", "key"),
    Index(None, "interaction_id"),
    Index("ix_evidence_fingerprint", "source", "fingerprint", postgresql_where=text("fingerprint IS NOT NULL")),
    Index("ix_evidence_unreadable", "id", postgresql_where=text("state = 'unreadable'")),
)
