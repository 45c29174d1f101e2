"""The metadata all tables are in, and the kinds of columns they are made of."""

from __future__ import annotations

import zlib

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Identity,
    LargeBinary,
    MetaData,
    Text,
    TypeDecorator,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def identity() -> Column[int]:
    """The primary key: an identity of the database."""
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def moment(name: str, *, nullable: bool = True) -> Column[object]:
    """A time, aware as all are; NULL: not yet, or not known."""
    return Column(name, DateTime(timezone=True), nullable=nullable)


def now(name: str) -> Column[object]:
    """When the row came to be, by the clock of the database, which all hosts share."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def of(
    table: str, *, column: str = "", refers: str = "id", nullable: bool = False, primary_key: bool = False
) -> Column[int]:
    """A reference to a row of another table, called ``<table>_id`` unless told otherwise."""
    return Column(
        column or f"{table}_id", BigInteger, ForeignKey(f"{table}.{refers}"), nullable=nullable, primary_key=primary_key
    )


def words(name: str) -> Column[str]:
    """Text that may be empty and is never NULL: there is one way to say nothing."""
    return Column(name, Text, nullable=False, server_default="")


class PackedText(TypeDecorator[str]):
    """Long text that is only shown, never searched: deflated (RFC 1950) before it is sent.

    PostgreSQL's own compression takes ten times as long and saves less. Empty text takes no bytes.
    """

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """Text to bytes."""
        return pack(value) if value is not None else None

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        """Bytes to text."""
        return unpack(value) if value is not None else None


def pack(words: str) -> bytes:
    """As `PackedText` keeps it."""
    return zlib.compress(words.encode("utf-8", "replace"), 1) if words else b""


def unpack(packed: bytes) -> str:
    """The other way round."""
    return zlib.decompress(packed).decode() if packed else ""


def packed_words(name: str) -> Column[str]:
    """As `words`, but packed."""
    return Column(name, PackedText, nullable=False, server_default=text("''::bytea"))


def json(name: str, default: str = "{}") -> Column[object]:
    """What only machines read."""
    return Column(name, JSONB, nullable=False, server_default=text(f"'{default}'::jsonb"))
