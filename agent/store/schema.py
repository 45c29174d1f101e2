"""Every table, its columns and its indexes. Migrations are generated from here; a test holds the two together.

Conventions: primary keys are database identities; times are ``timestamptz``; enumerations are kept as text and come
back as the ``StrEnum`` of `agent.model`; what only machines read lies in ``jsonb``.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _moment(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def _of(table: str, *, column: str = "", nullable: bool = False, primary_key: bool = False) -> Column[int]:
    return Column(
        column or f"{table}_id", BigInteger, ForeignKey(f"{table}.id"), nullable=nullable, primary_key=primary_key
    )


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _json(name: str, default: str = "{}") -> Column[object]:
    return Column(name, JSONB, nullable=False, server_default=text(f"'{default}'::jsonb"))


# --- People ---------------------------------------------------------------------------------------------------------

team = Table("team", metadata, _id(), Column("name", Text, nullable=False, unique=True))

employee = Table(
    "employee",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    _of("team", nullable=True),
    _now("created_at"),
)

employee_identity = Table(
    "employee_identity",
    metadata,
    _id(),
    _of("employee"),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    _moment("valid_from"),
    _moment("valid_to"),
    Index(None, "kind", "value"),
    Index(None, "employee_id"),
)

account = Table(
    "account",
    metadata,
    _id(),
    Column("login", Text, nullable=False, unique=True),
    _text("name"),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    _of("employee", nullable=True),
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    _now("created_at"),
)

login_session = Table(
    "login_session",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    _of("account"),
    Column("csrf_token", Text, nullable=False),
    _now("created_at"),
    _moment("expires_at", nullable=False),
    Index(None, "account_id"),
)

api_token = Table(
    "api_token",
    metadata,
    _id(),
    Column("token_hash", LargeBinary, nullable=False, unique=True),  # SHA-256 of the token, which is shown once
    Column("name", Text, nullable=False, unique=True),
    Column("scopes", ARRAY(Text), nullable=False),
    _of("account", nullable=True),  # whose rights it has; NULL: a supervisor's
    _now("created_at"),
    _moment("used_at"),
    _moment("revoked_at"),
)

audit_entry = Table(
    "audit_entry",
    metadata,
    _id(),
    _now("at"),
    _of("account", nullable=True),
    Column("action", Text, nullable=False),
    _json("subject"),
    Index(None, "at"),
)

# --- Cards ----------------------------------------------------------------------------------------------------------

client_card = Table(
    "client_card",
    metadata,
    _id(),
    Column("kind", Text, nullable=False, server_default="person"),
    Column("name", Text, nullable=False),
    _of("client_card", column="company_id", nullable=True),
    _of("employee", column="responsible_id", nullable=True),
    _now("created_at"),
    Index(None, "company_id"),
    Index(None, "responsible_id"),
    Index(None, "name"),
)

contact_point = Table(
    "contact_point",
    metadata,
    _id(),
    _of("client_card"),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    _text("label"),
    _now("created_at"),
    UniqueConstraint("client_card_id", "kind", "value"),
    Index(None, "kind", "value"),
)

# --- The archive ----------------------------------------------------------------------------------------------------

blob = Table(
    "blob",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),  # SHA-256 of the stored bytes, hex
    Column("media_type", Text, nullable=False),
    Column("plain_size", BigInteger, nullable=False),
    Column("stored_size", BigInteger, nullable=False),
    Column("salted_digest", LargeBinary, nullable=False),  # SHA-256(salt || plain bytes)
    Column("master_key", SmallInteger, nullable=False),  # number of the key that wraps data key and salt
    Column("wrapped_key", LargeBinary),  # NULL once erased
    Column("source", Text, nullable=False),
    _now("created_at"),
    _moment("erased_at"),
    Column("chained", Boolean, nullable=False, server_default=text("false")),
    Index("ix_blob_unchained", "id", postgresql_where=text("NOT chained")),
)

chain_link = Table(
    "chain_link",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    _of("blob"),
    Column("previous", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    _moment("chained_at", nullable=False),
    UniqueConstraint("blob_id"),
)

# --- Interactions ---------------------------------------------------------------------------------------------------

interaction = Table(
    "interaction",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),
    _moment("started_at", nullable=False),
    Column("direction", Text),  # NULL until linked
    Column("conversation_key", Text),
    Column("flags", ARRAY(Text), nullable=False, server_default=text("'{}'::text[]")),
    _now("created_at"),
    Index(None, "started_at"),
    Index("ix_interaction_conversation_key", "conversation_key", postgresql_where=text("conversation_key IS NOT NULL")),
)

evidence = Table(
    "evidence",
    metadata,
    _id(),
    Column("source", Text, nullable=False),
    Column("key", Text, nullable=False),
    _of("blob", nullable=True),
    Column("fingerprint", LargeBinary),  # keyed digest of the plain bytes: the same content of the same source, once
    _json("details"),
    _moment("received_at", nullable=False),
    Column("state", Text, nullable=False),
    _text("problem"),
    _of("interaction", nullable=True),
    UniqueConstraint("source", "key"),
    Index(None, "interaction_id"),
    Index("ix_evidence_fingerprint", "source", "fingerprint", postgresql_where=text("fingerprint IS NOT NULL")),
    Index("ix_evidence_unreadable", "id", postgresql_where=text("state = 'unreadable'")),
)

call = Table(
    "call",
    metadata,
    _of("interaction", primary_key=True),
    _moment("answered_at"),
    _moment("ended_at"),
    Column("disposition", Text, nullable=False),
    Column("truncated", Boolean, nullable=False, server_default=text("false")),
    Index("ix_call_in_progress", "interaction_id", postgresql_where=text("disposition = 'in_progress'")),
)

party = Table(
    "party",
    metadata,
    _id(),
    _of("interaction"),
    Column("ordinal", SmallInteger, nullable=False),
    Column("position", Text, nullable=False),
    Column("kind", Text, nullable=False),  # as captured
    Column("value", Text, nullable=False),  # as captured
    _text("name"),
    Column("channel", SmallInteger),
    _moment("joined_at"),
    _moment("left_at"),
    Column("identity_kind", Text),  # decided by the linker, like the rest
    Column("identity_value", Text),
    Column("role", Text),
    _of("employee", nullable=True),
    UniqueConstraint("interaction_id", "ordinal"),
    Index(None, "identity_kind", "identity_value"),
    Index("ix_party_employee_id", "employee_id", postgresql_where=text("employee_id IS NOT NULL")),
)

capture = Table(
    "capture",
    metadata,
    Column("id", Text, primary_key=True),  # name of the folder of packet logs
    _of("interaction"),
    Column("host", Text, nullable=False),
    Column("state", Text, nullable=False),  # open, closed, assembled
    Column("truncated", Boolean, nullable=False, server_default=text("false")),
    _moment("paused_at"),  # set while nothing is recorded on purpose
    Index(None, "interaction_id"),
    Index("ix_capture_open", "interaction_id", postgresql_where=text("state = 'open'")),
)

call_command = Table(
    "call_command",
    metadata,
    _id(),
    Column("capture_id", Text, ForeignKey("capture.id"), nullable=False),
    Column("host", Text, nullable=False),  # whose recorder holds the call
    Column("kind", Text, nullable=False),  # pause, resume
    Column("by", Text, nullable=False),  # login, or name of the API token
    _now("asked_at"),
    _moment("done_at"),
    _text("problem"),
    Index(None, "capture_id"),
    Index("ix_call_command_open", "host", "id", postgresql_where=text("done_at IS NULL")),
)

recording = Table(
    "recording",
    metadata,
    _id(),
    _of("interaction"),
    Column("capture_id", Text, ForeignKey("capture.id"), nullable=False, unique=True),
    _of("blob"),
    _moment("started_at", nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("channels", SmallInteger, nullable=False),
    Column("sample_rate", Integer, nullable=False),
    _json("gaps", "[]"),
    Column("truncated", Boolean, nullable=False, server_default=text("false")),
    Index(None, "interaction_id"),
)

recording_mark = Table(
    "recording_mark",
    metadata,
    _id(),
    _of("recording"),
    Column("kind", Text, nullable=False),
    Column("channel", SmallInteger),  # null: all of them
    Column("start_ms", Integer, nullable=False),
    Column("end_ms", Integer, nullable=False),
    _text("text"),
    Index(None, "recording_id", "start_ms"),
)

kept_log = Table(  # packet logs that hold what could not be decoded, sealed as they came
    "kept_log",
    metadata,
    Column("capture_id", Text, ForeignKey("capture.id"), primary_key=True),
    _of("blob"),
)

transcript = Table(
    "transcript",
    metadata,
    _id(),
    _of("recording"),
    _of("interaction"),
    Column("model", Text, nullable=False),
    _text("language"),
    _json("dropped", "[]"),
    _now("created_at"),
    UniqueConstraint("recording_id", "model"),
    Index(None, "interaction_id"),
)

utterance = Table(
    "utterance",
    metadata,
    _id(),
    _of("transcript"),
    Column("channel", SmallInteger, nullable=False),
    Column("start_ms", Integer, nullable=False),
    Column("end_ms", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Column("confidence", Integer, nullable=False),  # per cent
    _json("words", "[]"),
    Index(None, "transcript_id", "start_ms"),
)

thread = Table("thread", metadata, _id(), _text("subject"))

thread_reference = Table(
    "thread_reference",
    metadata,
    Column("message_id", Text, primary_key=True),
    _of("thread"),
    Index(None, "thread_id"),
)

message = Table(
    "message",
    metadata,
    _of("interaction", primary_key=True),
    Column("logical_key", Text, nullable=False, unique=True),
    _of("thread"),
    _text("message_id"),
    _text("subject"),
    Column("category", Text, nullable=False),
    _text("category_reason"),
    _text("text"),
    _text("html"),
    Index(None, "thread_id"),
)

attachment = Table(
    "attachment",
    metadata,
    _id(),
    _of("interaction"),
    Column("part", SmallInteger, nullable=False),  # its number in the sealed mail
    Column("name", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    UniqueConstraint("interaction_id", "part"),
)

link = Table(
    "link",
    metadata,
    _id(),
    _of("interaction"),
    _of("client_card", nullable=True),
    Column("started_at", DateTime(timezone=True), nullable=False),  # of the interaction: a card's history in one index
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_by", Text, nullable=False, server_default="rule"),
    _now("decided_at"),
    UniqueConstraint("interaction_id", "client_card_id", postgresql_nulls_not_distinct=True),
    Index("ix_link_history", "client_card_id", text("started_at DESC"), text("interaction_id DESC")),
    Index("ix_link_unsorted", "state", text("started_at DESC"), postgresql_where=text("client_card_id IS NULL")),
)

# --- Sources --------------------------------------------------------------------------------------------------------

mailbox_folder = Table(
    "mailbox_folder",
    metadata,
    Column("mailbox", Text, primary_key=True),
    Column("folder", Text, primary_key=True),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("low_uid", BigInteger, nullable=False),  # everything from here …
    Column("high_uid", BigInteger, nullable=False),  # … up to here is archived
)

source_status = Table(
    "source_status",
    metadata,
    Column("source", Text, primary_key=True),
    Column("state", Text, nullable=False),
    _text("detail"),
    _now("changed_at"),
)
