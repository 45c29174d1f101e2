"""Every table, its columns and its indexes. Migrations are generated from here; a test holds the two together.

One module a subject; whoever needs a table takes it from here, so that no table can be missing from ``metadata``.

Conventions: primary keys are database identities; times are ``timestamptz``; enumerations are kept as text and come
back as the ``StrEnum`` of `agent.model`; what only machines read lies in ``jsonb``.
"""

from __future__ import annotations

from agent.store.schema.api import api_reply, interaction_change
from agent.store.schema.archive import blob, chain_link, evidence
from agent.store.schema.calls import (
    call,
    call_command,
    capture,
    comment,
    kept_log,
    recording,
    recording_mark,
    recording_outline,
    transcript,
    utterance,
    utterance_correction,
)
from agent.store.schema.cards import (
    card_import,
    card_merge,
    card_note,
    card_stage,
    client_card,
    contact_point,
    contact_proposal,
    distinct_cards,
    line_policy,
    link,
    link_rule,
    relink_run,
    task,
)
from agent.store.schema.columns import metadata
from agent.store.schema.crm import (
    connector,
    crm_card,
    crm_stage,
    crm_user,
    deal,
    deal_stage,
    delivery,
    recording_share,
)
from agent.store.schema.hosts import host
from agent.store.schema.interactions import interaction, party
from agent.store.schema.live import live_answer
from agent.store.schema.mails import (
    attachment,
    mail_rule,
    message,
    rule_run,
    thread,
    thread_reference,
    thread_subject,
)
from agent.store.schema.meetings import invitation, meeting
from agent.store.schema.people import (
    account,
    account_invitation,
    api_token,
    audit_entry,
    card_hold,
    company_setting,
    employee,
    employee_identity,
    extension_proposal,
    login_attempt,
    login_session,
    team,
    team_member,
    team_supervisor,
)
from agent.store.schema.providers import notification, provider_call, provider_recording, provider_status
from agent.store.schema.seals import erasure, seal, seal_copy
from agent.store.schema.search import saved_search, search_due, search_entry
from agent.store.schema.sources import followed_file, mailbox_copy, mailbox_folder, sound_file, source_status
from agent.store.schema.transcriptions import answered_window, transcription
from agent.store.schema.transcripts import carried_correction, mask_rule, mask_run, talk, transcript_mask
from agent.store.schema.views import call_number, call_view

__all__ = [
    "account",
    "account_invitation",
    "answered_window",
    "api_reply",
    "api_token",
    "attachment",
    "audit_entry",
    "blob",
    "call",
    "call_command",
    "call_number",
    "call_view",
    "capture",
    "card_hold",
    "card_import",
    "card_merge",
    "card_note",
    "card_stage",
    "carried_correction",
    "chain_link",
    "client_card",
    "comment",
    "company_setting",
    "connector",
    "contact_point",
    "contact_proposal",
    "crm_card",
    "crm_stage",
    "crm_user",
    "deal",
    "deal_stage",
    "delivery",
    "distinct_cards",
    "employee",
    "employee_identity",
    "erasure",
    "evidence",
    "extension_proposal",
    "followed_file",
    "host",
    "interaction",
    "interaction_change",
    "invitation",
    "kept_log",
    "line_policy",
    "link",
    "link_rule",
    "live_answer",
    "login_attempt",
    "login_session",
    "mail_rule",
    "mailbox_copy",
    "mailbox_folder",
    "mask_rule",
    "mask_run",
    "meeting",
    "message",
    "metadata",
    "notification",
    "party",
    "provider_call",
    "provider_recording",
    "provider_status",
    "recording",
    "recording_mark",
    "recording_outline",
    "recording_share",
    "relink_run",
    "rule_run",
    "saved_search",
    "seal",
    "seal_copy",
    "search_due",
    "search_entry",
    "sound_file",
    "source_status",
    "talk",
    "task",
    "team",
    "team_member",
    "team_supervisor",
    "thread",
    "thread_reference",
    "thread_subject",
    "transcript",
    "transcript_mask",
    "transcription",
    "utterance",
    "utterance_correction",
]
