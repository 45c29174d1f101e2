"""Nouns as JSON, in the words of the spec. Pure; what a viewer may not see is left out by whoever asks here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from agent.model import Identity
from agent.store.cards import ClientCard
from agent.store.clients import ClientRow
from agent.store.contactproposals import ContactProposal
from agent.store.duplicates import Duplicate
from agent.store.history import CallFacts, Entry
from agent.store.interactionlist import Outline
from agent.store.interactions import Interaction, Party
from agent.store.linkrules import LinePolicy, LinkRule
from agent.store.links import BY_RULE, Link
from agent.store.meetings import Meeting
from agent.store.messages import Attachment, Message
from agent.store.notes import CardNote, CardStage
from agent.store.recordings import Recording
from agent.store.runs import Run
from agent.store.talks import StoredTalk
from agent.store.transcripts import Transcript
from agent.store.unsorted import UnsortedGroup
from agent.web.api.answers import Json
from agent.web.api.shapes_calls import talk

API = "/api/v1"


def time(moment: datetime | None) -> str | None:
    """RFC 3339 with its offset."""
    return moment.isoformat() if moment is not None else None


def named(number: int | None, names: Mapping[int, str]) -> Json | None:
    """A card or an employee: the id and the name."""
    return {"id": number, "name": names.get(number, "")} if number is not None else None


def identity(one: Identity | None) -> Json | None:
    """A normalised number or address."""
    return {"kind": one.kind.value, "value": one.value} if one is not None else None


def run(one: Run) -> Json:
    """How far everything there is has been gone through by changed rules."""
    return {
        "id": one.id,
        "by": one.by,
        "started": time(one.started),
        "total": one.total,
        "done": one.done,
        "changed": one.changed,
        "finished": time(one.finished),
    }


# --- Cards ------------------------------------------------------------------------------------------------------------


def card_row(row: ClientRow) -> Json:
    """A line of the list."""
    return {
        "id": row.id,
        "kind": row.kind,
        "name": row.name,
        "company": row.company,
        "responsible": row.responsible,
        "contact_points": list(row.contact_points),
        "last_contact": time(row.last_contact),
        "interactions": row.entries,
    }


def card(one: ClientCard, *, company: Json | None, responsible: Json | None) -> Json:
    """A card; ``company`` None also where the viewer may not see it."""
    return {
        "id": one.id,
        "kind": one.kind,
        "name": one.name,
        "company": company,
        "responsible": responsible,
        "stage": one.stage,
        "origin": one.origin,
        "contact_points": [
            {"id": point.id, **(identity(point.identity) or {}), "label": point.label} for point in one.contact_points
        ],
    }


def note(one: CardNote) -> Json:
    """A note."""
    return {"id": one.id, "text": one.text, "by": one.by, "at": time(one.at)}


def stage(one: CardStage) -> Json:
    """When a card came to a stage."""
    return {"stage": one.stage, "by": one.by, "at": time(one.at)}


def proposal(one: ContactProposal) -> Json:
    """What a signature offers."""
    return {
        "id": one.id,
        "identity": identity(one.identity),
        "label": one.label,
        "interaction_id": one.interaction_id,
    }


def duplicate(one: Duplicate) -> Json:
    """Two cards that may be one."""
    return {
        "first": {"id": one.first_id, "name": one.first_name},
        "second": {"id": one.second_id, "name": one.second_name},
        "shared": list(one.shared),
    }


# --- Interactions -----------------------------------------------------------------------------------------------------


def outline(one: Outline) -> Json:
    """A line of the list: everything but the words."""
    head = one.head
    more: Json = {}
    if one.call is not None:
        recordings = [{"id": number, "seconds": ms / 1000} for number, ms in one.recordings]
        more["call"] = call_facts(one.call) | {"recordings": recordings}
    elif head is not None and head.thread_id is not None:
        more["message"] = {
            "subject": head.subject,
            "thread_id": head.thread_id,
            "category": head.category,
            "attachments": one.attachments,
        }
    elif head is not None:
        more["meeting"] = {"summary": head.subject, "state": head.state}
    base = _interaction(one.interaction, one.parties, one.links, one.changed, one.cards, one.employees)
    return base | more


def entry(
    one: Entry,
    *,
    changed: datetime | None,
    cards: Mapping[int, str],
    employees: Mapping[int, str],
    about: Sequence[int] = (),
    measured: Mapping[int, StoredTalk] | None = None,
) -> Json:
    """An interaction with everything but its transcripts and evidence. ``about`` are mails that tell of a meeting,
    ``measured`` the figures of talk by recording."""
    more: Json = {}
    if one.call is not None:
        spoken = {each.recording_id: each for each in one.transcripts}
        more["call"] = call_facts(one.call) | {
            "recordings": [
                recording(each, one, spoken.get(each.id), (measured or {}).get(each.id)) for each in one.recordings
            ],
            "is_waited_for": any(state in ("open", "closed") for state in one.captures),
        }
    if one.message is not None:
        more["message"] = _message(one.message, one)
    if one.meeting is not None:
        more["meeting"] = _meeting(one.meeting, about)
    return _interaction(one.interaction, one.parties, one.links, changed, cards, employees) | more


def _interaction(
    one: Interaction,
    parties: Sequence[Party],
    links: Sequence[Link],
    changed: datetime | None,
    cards: Mapping[int, str],
    employees: Mapping[int, str],
) -> Json:
    return {
        "id": one.id,
        "kind": one.kind.value,
        "started": time(one.started),
        "changed": time(changed),
        "direction": one.direction.value if one.direction else None,
        "conversation": one.conversation_key,
        "flags": list(one.flags),
        "parties": [_party(each, employees) for each in parties],
        "links": [_link(each, cards) for each in links],
    }


def _party(one: Party, employees: Mapping[int, str]) -> Json:
    return {
        "id": one.id,
        "position": one.position,
        "kind": one.kind.value,
        "value": one.value,
        "name": one.name,
        "channel": one.channel,
        "identity": identity(one.identity),
        "role": one.role.value if one.role else None,
        "employee": named(one.employee_id, employees),
    }


def _link(one: Link, cards: Mapping[int, str]) -> Json:
    """A card that the viewer may not see is left out, and so is the reason, which may name it."""
    is_seen = one.card_id is None or one.card_id in cards
    candidates = [each for each in one.candidates if each[0] in cards]
    is_told = is_seen and len(candidates) == len(one.candidates)
    return {
        "state": one.state.value,
        "card": named(one.card_id, cards) if is_seen else None,
        "reason": one.reason if is_told else "",
        "confidence": one.confidence,
        "by_person": one.decided_by != BY_RULE,
        "rule_id": one.rule_id,
        "candidates": [
            {"card": named(number, cards), "confidence": sure, "reasons": list(why)} for number, sure, why in candidates
        ],
    }


def call_facts(one: CallFacts) -> Json:
    """When it was answered, when it ended, and how."""
    return {
        "answered": time(one.answered),
        "ended": time(one.ended),
        "disposition": one.disposition.value,
        "truncated": one.truncated,
    }


def recording(one: Recording, of: Entry, spoken: Transcript | None, measured: StoredTalk | None = None) -> Json:
    """The sound of a call; ``url`` takes Range."""
    return {
        "id": one.id,
        "url": f"{API}/recordings/{one.id}",
        "media_type": one.blob.media_type,
        "size": one.blob.plain_size,
        "started": time(one.started),
        "seconds": one.duration_ms / 1000,
        "channels": one.channels,
        "sample_rate": one.sample_rate,
        "mixed": one.mixed,
        "truncated": one.truncated,
        "gaps": [
            {"channel": gap.channel, "start": gap.start_ms / 1000, "end": gap.end_ms / 1000, "reason": gap.reason}
            for gap in one.gaps
        ],
        "marks": [
            {
                "kind": mark.kind.value,
                "channel": mark.channel,
                "start": mark.start_ms / 1000,
                "end": mark.end_ms / 1000,
                "text": mark.text,
            }
            for mark in of.marks.get(one.id, ())
        ],
        "transcript": {"model": spoken.model, "language": spoken.language} if spoken is not None else None,
        "talk": talk(measured) if measured is not None else None,
    }


def _message(one: Message, of: Entry) -> Json:
    protection = one.facts.get("protection") or {}
    return {
        "subject": one.subject,
        "thread_id": one.thread_id,
        "thread_subject": of.thread_subject,
        "message_id": one.message_id,
        "category": one.category.value,
        "category_reason": one.category_reason,
        "tags": [{"tag": tag, "reason": reason} for tag, reason in one.tags],
        "text": one.text,
        "spans": [{"kind": span.kind.value, "start": span.start, "end": span.end} for span in one.spans],
        "has_html": bool(one.html),
        "protection": {"kind": protection.get("kind", ""), "signer": protection.get("signer", "")},
        "attachments": [attachment(each) for each in of.attachments],
        "returned": [
            {
                "interaction_id": each.interaction_id,
                "failed": [{"address": address, "reason": reason} for address, reason in each.failed],
            }
            for each in of.returned
        ],
    }


def attachment(one: Attachment) -> Json:
    """A file of a mail."""
    return {
        "id": one.id,
        "url": f"{API}/attachments/{one.id}",
        "name": one.name,
        "media_type": one.media_type,
        "sniffed_type": one.sniffed_type,
        "size": one.size,
        "sha256": one.sha256,
    }


def _meeting(one: Meeting, about: Sequence[int]) -> Json:
    return {
        "summary": one.summary,
        "location": one.location,
        "ends": time(one.ends),
        "state": one.state.value,
        "reason": one.reason,
        "confirmed": one.confirmed,
        "moved_from": time(one.moved_from),
        "is_all_day": one.is_all_day,
        "is_recurring": one.is_recurring,
        "answers": [{"address": address, "answer": word} for address, word in sorted(one.answers.items())],
        "said": one.said,
        "said_by": one.said_by,
        "told_by": list(about),
    }


# --- To be sorted, and what was decided -------------------------------------------------------------------------------


def group(one: UnsortedGroup, candidates: Sequence[Json]) -> Json:
    """Interactions with one identity that wait for a person."""
    return {
        "state": one.state.value,
        "identity": identity(one.identity),
        "name": one.name,
        "count": one.count,
        "newest": time(one.newest),
        "reason": one.reason,
        "interaction_ids": list(one.interaction_ids),
        "candidates": list(candidates),
    }


def rule(one: LinkRule) -> Json:
    """What a person has decided about a number once for all."""
    return {
        "id": one.id,
        "identity": identity(one.identity),
        "decision": one.decision.value,
        "card": {"id": one.card_id, "name": one.card_name} if one.card_id is not None else None,
        "note": one.note,
        "made_by": one.made_by,
        "made": time(one.made),
        "revoked_by": one.revoked_by,
        "revoked": time(one.revoked),
    }


def policy(one: LinePolicy) -> Json:
    """What becomes of unknown numbers at a line."""
    return {
        "id": one.id,
        "line": identity(one.identity),
        "unknown": one.unknown.value,
        "made_by": one.made_by,
        "made": time(one.made),
    }
