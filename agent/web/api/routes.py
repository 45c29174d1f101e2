"""The API's part of the table of routes: who may call what, by a login's role or a token's scope."""

from __future__ import annotations

from agent.store.tokens import CALLS_PAUSE, LISTEN, READ, WRITE
from agent.web.api import (
    auditing,
    cards,
    docs,
    interactions,
    lists,
    live,
    merging,
    own,
    people,
    running,
    searching,
    sorting,
    speech,
    teams,
    waiting,
    working,
)
from agent.web.api.routes_admin import ADMIN_API_TABLE
from agent.web.api.shapes import API
from agent.web.cardlists import export_cards
from agent.web.guard import ADMINISTRATORS, EVERYBODY, SUPERVISORS, Route
from agent.web.interactions import download_attachment, download_original, show_mail_html
from agent.web.listening import listen_in
from agent.web.pausing import pause_by_number, pause_call, resume_by_number, resume_call
from agent.web.recordings import send_recording
from linker.csvcards import LARGEST

_ID = r"{id:\d{1,18}}"
_CARD = f"{API}/cards/{_ID}"
_ENTRY = f"{API}/interactions/{_ID}"


def _number(name: str) -> str:
    return f"{{{name}:\\d{{1,18}}}}"


API_TABLE = (
    Route("GET", "/api", docs.show_docs, EVERYBODY),
    Route("GET", f"{API}/openapi.yaml", docs.send_yaml, EVERYBODY, scope=READ),
    Route("GET", f"{API}/openapi.json", docs.send_json, EVERYBODY, scope=READ),
    Route("GET", f"{API}/me", running.show_me, EVERYBODY, scope=READ),
    # Cards
    Route("GET", f"{API}/cards", cards.list_cards, EVERYBODY, scope=READ),
    Route("POST", f"{API}/cards", cards.add_card, EVERYBODY, scope=WRITE),
    Route("GET", _CARD, cards.show_card, EVERYBODY, scope=READ),
    Route("PATCH", _CARD, cards.change_card, EVERYBODY, scope=WRITE),
    Route("POST", f"{_CARD}/contact-points", cards.add_contact_point, EVERYBODY, scope=WRITE),
    Route("DELETE", f"{_CARD}/contact-points/{_number('point')}", cards.remove_contact_point, EVERYBODY, scope=WRITE),
    Route("GET", f"{_CARD}/notes", cards.list_notes, EVERYBODY, scope=READ),
    Route("POST", f"{_CARD}/notes", cards.add_note, EVERYBODY, scope=WRITE),
    Route("DELETE", f"{_CARD}/notes/{_number('note')}", cards.remove_note, EVERYBODY, scope=WRITE),
    Route("GET", f"{_CARD}/stages", cards.list_stages, EVERYBODY, scope=READ),
    Route("GET", f"{_CARD}/proposals", cards.list_proposals, EVERYBODY, scope=READ),
    Route("POST", f"{_CARD}/proposals/{_number('proposal')}", cards.answer_proposal, EVERYBODY, scope=WRITE),
    Route("GET", f"{_CARD}/tasks", working.list_card_tasks, EVERYBODY, scope=READ),
    Route("POST", f"{_CARD}/tasks", working.add_task, EVERYBODY, scope=WRITE),
    Route("GET", f"{API}/tasks", working.list_tasks, EVERYBODY, scope=READ),
    Route("PATCH", f"{API}/tasks/{_ID}", working.change_task, EVERYBODY, scope=WRITE),
    Route("POST", f"{_CARD}/merge", merging.merge, SUPERVISORS, scope=WRITE),
    Route("POST", f"{_CARD}/split", merging.split, SUPERVISORS, scope=WRITE),
    Route("POST", f"{_CARD}/distinct", merging.keep_apart, SUPERVISORS, scope=WRITE),
    Route("POST", f"{API}/merges/{_ID}/undo", merging.undo_merge, SUPERVISORS, scope=WRITE),
    Route("POST", f"{API}/imports", lists.upload, SUPERVISORS, scope=WRITE, largest=LARGEST, whole=True),
    Route("GET", f"{API}/imports/{_ID}", lists.show_import, SUPERVISORS, scope=READ, whole=True),
    Route("PUT", f"{API}/imports/{_ID}/plan", lists.change_plan, SUPERVISORS, scope=WRITE, whole=True),
    Route("POST", f"{API}/imports/{_ID}/apply", lists.apply_import, SUPERVISORS, scope=WRITE, whole=True),
    Route("GET", f"{API}/cards.csv", export_cards, SUPERVISORS, scope=READ, whole=True),
    Route("GET", f"{API}/duplicates", merging.list_duplicates, SUPERVISORS, scope=READ, whole=True),
    # Interactions and what belongs to them
    Route("GET", f"{API}/interactions", interactions.list_interactions, EVERYBODY, scope=READ),
    Route("GET", _ENTRY, interactions.show_interaction, EVERYBODY, scope=READ),
    Route("GET", f"{_ENTRY}/transcripts", interactions.list_transcripts, EVERYBODY, scope=READ),
    Route("GET", f"{_ENTRY}/evidence", interactions.list_evidence, EVERYBODY, scope=READ),
    Route("GET", f"{_ENTRY}/html", show_mail_html, EVERYBODY, scope=READ),
    Route("PUT", f"{_ENTRY}/card", interactions.decide_card, EVERYBODY, scope=WRITE),
    Route("POST", f"{_ENTRY}/not-client", own.take_off, EVERYBODY, scope=WRITE),
    Route("PUT", f"{_ENTRY}/private", own.make_private, EVERYBODY, scope=WRITE),  # one he himself took part in
    Route("DELETE", f"{_ENTRY}/private", own.make_public, EVERYBODY, scope=WRITE),  # one he himself has made private
    Route("GET", f"{API}/private", own.list_private, EVERYBODY, scope=READ),
    Route("PUT", f"{_ENTRY}/meeting", interactions.say_of_meeting, EVERYBODY, scope=WRITE),
    Route("PUT", f"{_ENTRY}/credit", interactions.credit, SUPERVISORS, scope=WRITE),
    Route("POST", f"{_ENTRY}/unite", interactions.unite, SUPERVISORS, scope=WRITE),
    Route("POST", f"{API}/evidence/{_ID}/separate", interactions.separate, SUPERVISORS, scope=WRITE),
    Route("GET", f"{API}/evidence/{_ID}/original", download_original, EVERYBODY, scope=READ),
    Route("GET", f"{API}/attachments/{_ID}", download_attachment, EVERYBODY, scope=READ),
    Route("GET", f"{API}/recordings/{_ID}", send_recording, EVERYBODY, scope=LISTEN),
    Route("HEAD", f"{API}/recordings/{_ID}", send_recording, EVERYBODY, scope=LISTEN),
    Route("POST", f"{API}/recordings/{_ID}/transcribe", speech.ask_again, SUPERVISORS, scope=WRITE),
    Route("PUT", f"{API}/transcripts/{_ID}/shown", speech.show_transcript, SUPERVISORS, scope=WRITE),
    Route("GET", f"{_ENTRY}/carried-corrections", speech.list_carried, EVERYBODY, scope=READ),
    Route("POST", f"{API}/carried-corrections/{_ID}", speech.settle_carried, EVERYBODY, scope=WRITE),
    Route("GET", f"{_ENTRY}/comments", working.list_comments, EVERYBODY, scope=READ),
    Route("POST", f"{_ENTRY}/comments", working.add_comment, EVERYBODY, scope=WRITE),
    Route("DELETE", f"{API}/comments/{_ID}", working.remove_comment, EVERYBODY, scope=WRITE),
    Route("PUT", f"{API}/utterances/{_ID}", working.correct_utterance, EVERYBODY, scope=WRITE),
    Route("DELETE", f"{API}/utterances/{_ID}", working.restore_utterance, EVERYBODY, scope=WRITE),
    Route("GET", f"{API}/search", searching.search, EVERYBODY, scope=READ),
    Route("GET", f"{API}/searches", lists.list_searches, EVERYBODY, scope=READ),
    Route("POST", f"{API}/searches", lists.keep_search, EVERYBODY, scope=WRITE),
    Route("DELETE", f"{API}/searches/{_ID}", lists.remove_search, EVERYBODY, scope=WRITE),
    # What goes on
    Route("GET", f"{API}/events", live.stream_events, EVERYBODY, scope=READ),
    Route("GET", f"{API}/calls", live.list_calls, EVERYBODY, scope=READ),
    Route("GET", f"{API}/calls/{_ID}/listen", listen_in, EVERYBODY, scope=LISTEN),
    Route("POST", f"{API}/calls/{_ID}/pause", pause_call, EVERYBODY, scope=CALLS_PAUSE),
    Route("POST", f"{API}/calls/{_ID}/resume", resume_call, EVERYBODY, scope=CALLS_PAUSE),
    Route("POST", f"{API}/pause", pause_by_number, EVERYBODY, scope=CALLS_PAUSE),
    Route("POST", f"{API}/resume", resume_by_number, EVERYBODY, scope=CALLS_PAUSE),
    # To be sorted, and what was decided
    Route("GET", f"{API}/unsorted", sorting.list_unsorted, EVERYBODY, scope=READ),
    Route("POST", f"{API}/unsorted/card", sorting.make_card, EVERYBODY, scope=WRITE),
    Route("POST", f"{API}/unsorted/contact-point", sorting.add_contact_point, EVERYBODY, scope=WRITE),
    Route("POST", f"{API}/unsorted/decision", sorting.decide, EVERYBODY, scope=WRITE),
    Route("GET", f"{API}/unreadable", interactions.list_unreadable, SUPERVISORS, scope=READ, whole=True),
    Route("POST", f"{API}/unreadable/{_ID}", waiting.settle_unreadable, SUPERVISORS, scope=WRITE, whole=True),
    Route("GET", f"{API}/unsorted/near", waiting.list_near, SUPERVISORS, scope=READ),
    Route("POST", f"{API}/unsorted/near", waiting.settle_near, SUPERVISORS, scope=WRITE),
    Route("GET", f"{API}/decisions", sorting.list_rules, SUPERVISORS, scope=READ, whole=True),
    Route("POST", f"{API}/decisions", sorting.make_rule, SUPERVISORS, scope=WRITE, whole=True),
    Route("DELETE", f"{API}/decisions/{_ID}", sorting.revoke_rule, SUPERVISORS, scope=WRITE, whole=True),
    Route("GET", f"{API}/line-policies", sorting.list_policies, SUPERVISORS, scope=READ, whole=True),
    Route("PUT", f"{API}/line-policies", sorting.save_policy, ADMINISTRATORS, scope=WRITE),
    Route("DELETE", f"{API}/line-policies/{_ID}", sorting.remove_policy, ADMINISTRATORS, scope=WRITE),
    # Who works here
    Route("GET", f"{API}/employees", people.list_employees, EVERYBODY, scope=READ),
    Route("POST", f"{API}/employees", people.add_employee, ADMINISTRATORS, scope=WRITE),
    Route("PATCH", f"{API}/employees/{_ID}", people.rename_employee, ADMINISTRATORS, scope=WRITE),
    Route("POST", f"{API}/employees/{_ID}/identities", people.add_identity, ADMINISTRATORS, scope=WRITE),
    Route("PATCH", f"{API}/identities/{_ID}", people.end_identity, ADMINISTRATORS, scope=WRITE),
    Route("DELETE", f"{API}/identities/{_ID}", people.remove_identity, ADMINISTRATORS, scope=WRITE),
    Route("GET", f"{API}/extensions", people.list_extensions, ADMINISTRATORS, scope=READ),
    Route(
        "PUT", f"{API}/extensions/{{extension:[0-9*#]{{1,8}}}}", people.decide_extension, ADMINISTRATORS, scope=WRITE
    ),
    Route("GET", f"{API}/teams", teams.list_teams, ADMINISTRATORS, scope=READ),
    Route("POST", f"{API}/teams", teams.add_team, ADMINISTRATORS, scope=WRITE),
    Route("PATCH", f"{API}/teams/{_ID}", teams.rename_team, ADMINISTRATORS, scope=WRITE),
    Route("DELETE", f"{API}/teams/{_ID}", teams.remove_team, ADMINISTRATORS, scope=WRITE),
    Route("POST", f"{API}/teams/{_ID}/members", teams.add_member, ADMINISTRATORS, scope=WRITE),
    Route("PATCH", f"{API}/team-members/{_ID}", teams.end_member, ADMINISTRATORS, scope=WRITE),
    Route("DELETE", f"{API}/team-members/{_ID}", teams.remove_member, ADMINISTRATORS, scope=WRITE),
    # The service itself
    Route("GET", f"{API}/sources", running.list_sources, SUPERVISORS, scope=READ, whole=True),
    Route("GET", f"{API}/crms", running.list_crms, SUPERVISORS, scope=READ, whole=True),
    Route("GET", f"{API}/crms/failed", running.list_failed, SUPERVISORS, scope=READ, whole=True),
    Route("POST", f"{API}/crms/failed/{_ID}", running.settle_delivery, SUPERVISORS, scope=WRITE, whole=True),
    Route("POST", f"{API}/crms/retry", running.retry_deliveries, SUPERVISORS, scope=WRITE, whole=True),
    Route("GET", f"{API}/crms/{_ID}/users", running.list_users, SUPERVISORS, scope=READ, whole=True),
    Route("PUT", f"{API}/crms/{_ID}/users", running.map_user, ADMINISTRATORS, scope=WRITE),
    Route("GET", f"{API}/jobs/failed", waiting.list_failed_jobs, ADMINISTRATORS, scope=READ),
    Route("POST", f"{API}/jobs/failed/{_ID}", waiting.settle_job, ADMINISTRATORS, scope=WRITE),
    Route("GET", f"{API}/audit", auditing.list_audit, ADMINISTRATORS, scope=READ),
    Route("GET", f"{API}/audit.csv", auditing.export_audit, ADMINISTRATORS, scope=READ),
    *ADMIN_API_TABLE,
)
