"""How far each source has come, and how it is."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, Column, Date, Index, LargeBinary, SmallInteger, Table, Text, text

from agent.store.schema.columns import metadata, moment, now, of, words

mailbox_folder = Table(
    "mailbox_folder",
    metadata,
    Column("mailbox", Text, primary_key=True),
    Column("folder", Text, primary_key=True),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("low_uid", BigInteger, nullable=False),  # everything from here …
    Column("high_uid", BigInteger, nullable=False),  # … up to here is archived
    Column("horizon", Date),  # what came before this day was passed over; NULL: nothing was
    Column("modseq", BigInteger, nullable=False, server_default="0"),  # flags are known up to here (RFC 7162); 0: not
)

# A message as it lies in a folder. One content in two folders is two copies of one piece of evidence; one that is
# deleted in the mailbox gets a mark and stays.
mailbox_copy = Table(
    "mailbox_copy",
    metadata,
    Column("mailbox", Text, primary_key=True),
    Column("folder", Text, primary_key=True),
    Column("uidvalidity", BigInteger, primary_key=True),
    Column("uid", BigInteger, primary_key=True),
    of("evidence", nullable=True),  # NULL: its bytes were not taken, `skipped` says why
    Column("flags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    words("skipped"),
    moment("gone_at"),
    Index(None, "evidence_id"),
)

# What became of each file of a folder of recordings, so that a look at the folder reads only what is new in it.
sound_file = Table(
    "sound_file",
    metadata,
    Column("source", Text, primary_key=True),
    Column("path", LargeBinary, primary_key=True),  # within the folder, without ending, as bytes: it may be no text
    words("suffix"),
    Column("size", BigInteger, nullable=False),
    Column("modified_ns", BigInteger, nullable=False),
    Column("state", Text, nullable=False),  # trying, kept, known, left_out
    words("reason"),
    Column("tries", SmallInteger, nullable=False, server_default=text("0")),
    of("interaction", nullable=True),
    now("noted_at"),
)

followed_file = Table(  # how far a growing file, such as Master.csv, was read
    "followed_file",
    metadata,
    Column("source", Text, primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("inode", BigInteger, nullable=False),
    Column("place", BigInteger, nullable=False),  # bytes
    Column("head", LargeBinary, nullable=False),  # digest of its first bytes: another file of the same inode is another
)

source_status = Table(
    "source_status",
    metadata,
    Column("source", Text, primary_key=True),
    Column("state", Text, nullable=False),
    words("detail"),
    now("changed_at"),
)
