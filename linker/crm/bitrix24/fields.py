"""What Bitrix24 is told of a call or mail, as its fields; pure.

Sources: apidocs.bitrix24.com, *telephony.externalCall.register*, *…finish*, *telephony.call.attachTranscription*,
*crm.activity.add*, *CRM object types*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.model import Direction, Disposition, Role
from linker.crm.facts import Activity, CallToLog, ExternalId, MailToLog, TranscriptToAttach
from linker.crm.protocol import CrmGone
from linker.crm.wording import Told, cut, describe_call, describe_mail, one_line, subject_of, title_of

ORIGINATOR = "cardline"
TYPE_CALL, TYPE_MAIL = 2, 4
_INCOMING, _OUTGOING = 1, 2  # of an activity; telephony counts the other way round
_TELEPHONY_OUT, _TELEPHONY_IN = 1, 2
_PLAIN_TEXT = 1
_MOST_SAID = 3000  # utterances
_MOST_WORDS = 2000  # of one utterance, in characters
ENTITY_TYPES = {"lead": 1, "contact": 3, "company": 4}
_CODES = {
    Disposition.ANSWERED: "200",
    Disposition.BUSY: "486",
    Disposition.NO_ANSWER: "304",
    Disposition.FAILED: "503",
}


def entity_type(card: ExternalId) -> int:
    """The number of its type.

    Raises:
        CrmGone: it is of a type on which nothing of ours may stand.
    """
    if card.kind not in ENTITY_TYPES:
        raise CrmGone(f"Bitrix24 has no cards of the kind {card.kind}.")
    return ENTITY_TYPES[card.kind]


def register(call: CallToLog, user: str) -> dict[str, Any]:
    """Parameters of ``telephony.externalCall.register``: on this card, without making one, without popping up."""
    return {
        "USER_ID": user,
        "PHONE_NUMBER": dialled(call),
        "TYPE": _TELEPHONY_OUT if call.direction is Direction.OUTBOUND else _TELEPHONY_IN,
        "CALL_START_DATE": call.started.isoformat(timespec="seconds"),
        "CRM_CREATE": 0,
        "CRM_ENTITY_TYPE": call.card.kind.upper(),
        "CRM_ENTITY_ID": call.card.id,
        "SHOW": 0,
        "ADD_TO_CHAT": 0,
        "EXTERNAL_CALL_ID": call.key,
    }


def finish(call: CallToLog, user: str, call_id: str) -> dict[str, Any]:
    """Parameters of ``telephony.externalCall.finish``; a call that nobody answered is never one of no duration."""
    is_answered = call.disposition is Disposition.ANSWERED
    return {
        "CALL_ID": call_id,
        "USER_ID": user,
        "DURATION": call.talk_seconds if is_answered else 0,
        "STATUS_CODE": _CODES.get(call.disposition, "304"),
        "ADD_TO_CHAT": 0,
    }


def dialled(call: CallToLog) -> str:
    """The number in digits with its plus; empty for a hidden one, which the telephony does not take."""
    digits = "".join(one for one in call.phone if one in "0123456789")
    return ("+" if call.phone.startswith("+") else "") + digits if digits else ""


def call_activity(call: CallToLog, user: str, *, language: str, timezone: str, told: Told | None = None) -> Any:
    """Fields of an activity that is a call."""
    head = describe_call(call, language=language, timezone=timezone)
    text = (told or Told(head="")).with_head(head).text()
    is_outgoing = call.direction is Direction.OUTBOUND
    communication = _communication(call.card, "PHONE", one_line(call.phone) or "-")
    return {
        **_common(call, user),
        "TYPE_ID": TYPE_CALL,
        "SUBJECT": cut(f"{title_of(call)} {one_line(call.phone)}".strip(), 250),
        "START_TIME": call.started.isoformat(timespec="seconds"),
        "END_TIME": call.ended.isoformat(timespec="seconds"),
        "DIRECTION": _OUTGOING if is_outgoing else _INCOMING,
        "DESCRIPTION": text,
        "COMPLETED": "Y",
        "COMMUNICATIONS": [communication],
    }


def mail_activity(mail: MailToLog, user: str, *, language: str, timezone: str) -> Any:
    """Fields of an activity that is a mail. It is made as not completed: Bitrix24 sends a completed outgoing one."""
    is_outgoing = mail.direction is Direction.OUTBOUND
    wanted = ("to",) if is_outgoing else ("from",)
    address = next((one.address for one in mail.parties if one.position in wanted), "")
    sent = mail.sent.isoformat(timespec="seconds")
    return {
        **_common(mail, user),
        "TYPE_ID": TYPE_MAIL,
        "SUBJECT": subject_of(mail, language),
        "START_TIME": sent,
        "END_TIME": sent,
        "DIRECTION": _OUTGOING if is_outgoing else _INCOMING,
        "DESCRIPTION": describe_mail(mail, language=language, timezone=timezone, with_subject=False),
        "COMPLETED": "N",
        "SETTINGS": {"DISABLE_SENDING_MESSAGE_COPY": "Y"},
        "COMMUNICATIONS": [_communication(mail.card, "EMAIL", one_line(address) or "-")],
    }


def _common(activity: Activity, user: str) -> dict[str, Any]:
    return {
        "OWNER_TYPE_ID": entity_type(activity.card),
        "OWNER_ID": activity.card.id,
        "RESPONSIBLE_ID": user,
        "DESCRIPTION_TYPE": _PLAIN_TEXT,
        "ORIGINATOR_ID": ORIGINATOR,
        "ORIGIN_ID": activity.key,
    }


def _communication(card: ExternalId, sort: str, value: str) -> dict[str, Any]:
    return {"VALUE": value, "TYPE": sort, "ENTITY_ID": card.id, "ENTITY_TYPE_ID": entity_type(card)}


def messages(transcript: TranscriptToAttach) -> list[Mapping[str, Any]]:
    """Utterances in whole seconds; one that is over within its first second stops at the next."""
    return [
        {
            "SIDE": "User" if one.side is Role.EMPLOYEE else "Client",
            "START_TIME": max(0, int(one.start)),
            "STOP_TIME": max(1, int(one.start) + 1, round(one.end)),
            "MESSAGE": cut(one_line(one.text), _MOST_WORDS),
        }
        for one in transcript.said[:_MOST_SAID]
        if one_line(one.text)
    ]
