"""Seals of the chain, what became of their copies elsewhere, and acts of erasure."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text, text

from agent.store.schema.columns import identity, json, metadata, moment, of, words

seal = Table(
    "seal",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("length", BigInteger, nullable=False),  # links it vouches for
    Column("statement", LargeBinary, nullable=False),  # the very bytes that are signed
    Column("signature", LargeBinary, nullable=False),
    moment("sealed_at", nullable=False),
)

seal_copy = Table(  # of one seal at one place that is not ours
    "seal_copy",
    metadata,
    of("seal", column="seal_number", refers="number", primary_key=True),
    Column("target", Text, primary_key=True),  # mail, bucket, timestamp
    moment("delivered_at"),
    Column("token", LargeBinary),  # what an authority gave for it (RFC 3161)
    words("problem"),
    Index("ix_seal_copy_waiting", "target", "seal_number", postgresql_where=text("delivered_at IS NULL")),
)

erasure = Table(
    "erasure",
    metadata,
    identity(),
    moment("at", nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("basis", Text, nullable=False),
    Column("subject", Text, nullable=False),  # which card or interaction, by its number
    json("links", "[]"),  # positions in the chain whose keys were destroyed
    Column("blobs", Integer, nullable=False),
)
