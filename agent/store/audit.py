"""The audit log: who looked at, took or changed what. Rows are only ever added."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store.schema import audit_entry

LOGGED_IN = "logged_in"
LOGGED_OUT = "logged_out"
RECORDING_PLAYED = "recording_played"
RECORDING_DOWNLOADED = "recording_downloaded"
COMMENT_ADDED = "comment_added"
COMMENT_REMOVED = "comment_removed"
TRANSCRIPT_CORRECTED = "transcript_corrected"
CORRECTION_LEFT = "correction_left"
TRANSCRIPTION_ASKED = "transcription_asked"
TRANSCRIPT_CHOSEN = "transcript_chosen"
MASK_RULE_SAVED = "mask_rule_saved"
MASK_RULE_REMOVED = "mask_rule_removed"
TRANSCRIPTS_MASKED = "transcripts_masked"
GLOSSARY_CHANGED = "glossary_changed"
ATTACHMENT_DOWNLOADED = "attachment_downloaded"
ORIGINAL_DOWNLOADED = "original_downloaded"
CARD_CREATED = "card_created"
CONTACT_POINT_ADDED = "contact_point_added"
LINK_DECIDED = "link_decided"
LINK_RULE_MADE = "link_rule_made"
LINK_RULE_REVOKED = "link_rule_revoked"
LINE_POLICY_SET = "line_policy_set"
LINE_POLICY_REMOVED = "line_policy_removed"
CARD_CHANGED = "card_changed"
CONTACT_POINT_REMOVED = "contact_point_removed"
NOTE_ADDED = "note_added"
NOTE_REMOVED = "note_removed"
CARDS_MERGED = "cards_merged"
MERGE_UNDONE = "merge_undone"
CARD_SPLIT = "card_split"
CARDS_KEPT_APART = "cards_kept_apart"
CARDS_IMPORTED = "cards_imported"
CARDS_EXPORTED = "cards_exported"
EMPLOYEE_ADDED = "employee_added"
EMPLOYEE_IDENTITY_ADDED = "employee_identity_added"
EMPLOYEE_RENAMED = "employee_renamed"
EMPLOYEE_IDENTITY_ENDED = "employee_identity_ended"
EMPLOYEE_IDENTITY_REMOVED = "employee_identity_removed"
EXTENSION_SHARED = "extension_shared"
PROPOSALS_PASTED = "proposals_pasted"
CALLS_UNITED = "calls_united"
CALL_SEPARATED = "call_separated"
CALL_CREDITED = "call_credited"
CALL_PAUSED = "call_paused"
CALL_RESUMED = "call_resumed"
CALL_LISTENED_IN = "call_listened_in"
MAIL_RULE_SAVED = "mail_rule_saved"
MAIL_RULE_REMOVED = "mail_rule_removed"
MAIL_RULE_MOVED = "mail_rule_moved"
MAILS_RESORTED = "mails_resorted"
OWN_DOMAIN_ADDED = "own_domain_added"
OWN_DOMAIN_REMOVED = "own_domain_removed"
MEETING_DECIDED = "meeting_decided"
RECORDING_PLAYED_BY_LINK = "recording_played_by_link"
DELIVERIES_RETRIED = "deliveries_retried"
DELIVERY_DROPPED = "delivery_dropped"
CRM_USER_MAPPED = "crm_user_mapped"
TASK_ADDED = "task_added"
TASK_CHANGED = "task_changed"
TASK_DONE = "task_done"
TASK_REOPENED = "task_reopened"
ENTRY_TAKEN_OFF = "entry_taken_off"
ENTRY_MADE_PRIVATE = "entry_made_private"
ENTRY_MADE_PUBLIC = "entry_made_public"
ATTACHMENT_VIEWED = "attachment_viewed"
ORIGINAL_VIEWED = "original_viewed"
EVIDENCE_READ_AGAIN = "evidence_read_again"
JOB_RETRIED = "job_retried"
CALLS_KEPT_APART = "calls_kept_apart"
PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of an act
PASSWORD_CHOSEN = "password_chosen"  # noqa: S105 - the name of an act
SECOND_FACTOR_ADDED = "second_factor_added"
SECOND_FACTOR_REMOVED = "second_factor_removed"
SECOND_FACTOR_RESET = "second_factor_reset"
RECOVERY_CODES_RENEWED = "recovery_codes_renewed"
LOGINS_ENDED = "logins_ended"
ACCOUNT_ADDED = "account_added"
ACCOUNT_CHANGED = "account_changed"
ACCOUNT_DISABLED = "account_disabled"
ACCOUNT_ENABLED = "account_enabled"
ACCOUNT_INVITED = "account_invited"
TEAM_ADDED = "team_added"
TEAM_RENAMED = "team_renamed"
TEAM_REMOVED = "team_removed"
TEAM_MEMBER_ADDED = "team_member_added"
TEAM_MEMBER_ENDED = "team_member_ended"
TEAM_MEMBER_REMOVED = "team_member_removed"
TOKEN_ADDED = "token_added"  # noqa: S105 - the name of an act
TOKEN_REVOKED = "token_revoked"  # noqa: S105 - the name of an act
AUDIT_EXPORTED = "audit_exported"
RETENTION_CHANGED = "retention_changed"
CARD_HELD = "card_held"
CARD_RELEASED = "card_released"
ERASED = "erased"
EXPORTED = "exported"


async def add_entry(
    connection: AsyncConnection, account_id: int | None, action: str, subject: Mapping[str, Any] | None = None
) -> None:
    """Note an act, in the transaction that does it; None or 0: of a program whose token is nobody's."""
    values = {"account_id": account_id or None, "action": action, "subject": dict(subject or {})}
    await connection.execute(insert(audit_entry).values(**values))


_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 11))")
_ONCE = text(
    """
    INSERT INTO audit_entry (account_id, action, subject)
    SELECT CAST(:account_id AS bigint), :action, CAST(:subject AS jsonb)
    WHERE NOT EXISTS (
        SELECT FROM audit_entry
        WHERE at > now() - interval '30 minutes'
          AND account_id IS NOT DISTINCT FROM CAST(:account_id AS bigint)
          AND action = :action AND subject = CAST(:subject AS jsonb)
    )
    """
)


async def add_entry_once(
    connection: AsyncConnection, account_id: int | None, action: str, subject: Mapping[str, Any]
) -> None:
    """Note an act that comes in many requests, such as listening by ranges: once in half an hour."""
    words = json.dumps(dict(subject), sort_keys=True)
    await connection.execute(_LOCK, {"key": f"{account_id} {action} {words}"})
    await connection.execute(_ONCE, {"account_id": account_id or None, "action": action, "subject": words})
