"""What is done with a transcript once it is there: what was masked in it, corrections carried over, figures of talk."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from agent.store.schema.columns import identity, json, metadata, moment, now, of, words

mask_rule = Table(  # what is masked in the text of calls
    "mask_rule",
    metadata,
    identity(),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),  # cards, pattern, words
    words("text"),  # the pattern, or a word or phrase a line
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    words("preset"),  # of those that come with the program: which
)

mask_run = Table(  # older transcripts masked by rules that were changed
    "mask_run",
    metadata,
    identity(),
    Column("by", Text, nullable=False),
    now("started_at"),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False, server_default=text("0")),
    Column("changed", Integer, nullable=False, server_default=text("0")),
    Column("next_id", BigInteger, nullable=False, server_default=text("0")),  # transcripts before it are done
    Column("last_id", BigInteger, nullable=False),
    moment("finished_at"),
)

transcript_mask = Table(  # that something was masked, where and why; never what
    "transcript_mask",
    metadata,
    identity(),
    of("transcript"),
    Column("why", Text, nullable=False),  # card, card_like, rule, slow
    words("rule"),  # its name then
    Column("channel", SmallInteger, nullable=False),
    Column("start_ms", Integer, nullable=False),
    Column("end_ms", Integer, nullable=False),
    Index(None, "transcript_id"),
)

carried_correction = Table(  # of an earlier transcript, where the new one reads otherwise: for a person to look at
    "carried_correction",
    metadata,
    identity(),
    of("transcript"),  # the new one
    of("utterance", nullable=True),  # of the new one, beside which it is shown; NULL: nothing is there any more
    of("utterance_correction", column="correction_id"),
    words("settled_by"),  # login
    moment("settled_at"),
    UniqueConstraint("transcript_id", "correction_id"),
    Index(None, "utterance_id"),
    Index(None, "correction_id"),
)

talk = Table(  # figures seen from sound, by docs/call-figures.md; arrays have a place a channel
    "talk",
    metadata,
    of("recording", primary_key=True),
    Column("answered_ms", Integer, nullable=False),  # when the call was answered, as it was known then
    Column("length_ms", Integer, nullable=False),  # of the conversation: from the answer on, without holds and pauses
    Column("silence_ms", Integer, nullable=False),
    Column("longest_silence_ms", Integer, nullable=False),
    Column("together_ms", Integer, nullable=False),
    Column("talk_ms", ARRAY(Integer), nullable=False),
    Column("monologue_ms", ARRAY(Integer), nullable=False),
    Column("interruptions", ARRAY(Integer), nullable=False),
    Column("first_ms", ARRAY(Integer), nullable=False),  # NULL in it: never spoke
    Column("patience_ms", ARRAY(Integer), nullable=False),  # NULL in it: never answered
    Column("separated", Boolean, nullable=False),  # a channel is a party
    json("speech", "[]"),  # a channel: pairs of milliseconds
    now("made_at"),
)
