"""The metadata all tables are in, and the kinds of columns they are made of."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Identity, MetaData, Text, func, text
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


def json(name: str, default: str = "{}") -> Column[object]:
    """What only machines read."""
    return Column(name, JSONB, nullable=False, server_default=text(f"'{default}'::jsonb"))
