"""The one table of routes and roles, written by hand. What is not in it does not exist; a test walks all of it."""

from __future__ import annotations

from agent.web.api.routes import API_TABLE
from agent.web.cardforms import (
    add_card,
    add_contact,
    add_note,
    answer_proposal,
    change_card,
    remove_contact,
    remove_note,
)
from agent.web.cardlists import (
    LARGEST_FORM,
    apply_import,
    change_plan,
    export_cards,
    show_import,
    show_upload,
    upload,
)
from agent.web.cardmerging import keep_apart, list_duplicates, merge_cards, split_card, undo_merge
from agent.web.cardpage import show_card
from agent.web.cards import list_cards, suggest_cards
from agent.web.comments import add_comment, correct_utterance, remove_comment
from agent.web.corrections import credit_call, separate_call, unite_calls
from agent.web.crm import drop_delivery, retry_deliveries, show_crms
from agent.web.crm_users import map_employee
from agent.web.decisions import list_decisions, make_rule, relink_entry, remove_policy, revoke_rule, save_policy
from agent.web.employees import (
    add_employee,
    add_identity,
    end_identity,
    list_employees,
    remove_identity,
    rename_employee,
)
from agent.web.events import stream_events
from agent.web.extensions import decide_extension, paste_extensions
from agent.web.files import show_file, show_picture, show_source
from agent.web.find import remove_search, save_search, show_find
from agent.web.guard import ADMINISTRATORS, EVERYBODY, SUPERVISORS, Route
from agent.web.health import healthz, metrics, static_file
from agent.web.interactions import download_attachment, download_original, show_interaction, show_mail_html
from agent.web.listening import listen_in
from agent.web.live import show_live
from agent.web.login import choose_language, choose_theme, home, log_in, log_out, show_login
from agent.web.mail_rules import (
    add_own_domain,
    list_mail_rules,
    move_mail_rule,
    remove_mail_rule,
    remove_own_domain,
    resort_mails,
    save_mail_rule,
    show_mail_rule,
    try_mail_rule,
)
from agent.web.meetings import say_of_meeting
from agent.web.outlines import send_peaks, send_words
from agent.web.ownentries import list_private, make_private, make_public, take_off
from agent.web.provider_hooks import take_hook
from agent.web.recordings import send_recording
from agent.web.routes_admin import ADMIN_ROUTES
from agent.web.shared import send_shared
from agent.web.sources import list_sources
from agent.web.tasks import add_task, change_task, finish_task, list_tasks, reopen_task
from agent.web.transcripts import ask_again, settle_correction, show_transcript
from agent.web.unfolding import show_said_of
from agent.web.unsorted import (
    add_contact_point,
    decide,
    make_card,
    set_aside,
    settle_failed_delivery,
    settle_job,
    settle_unreadable,
    show_unsorted,
    unite_near,
)

PUBLIC = None
_ID = r"{id:\d{1,18}}"
_HOOK = r"/hooks/{name:[a-z0-9-]{1,32}}"

TABLE = (
    Route("GET", "/healthz", healthz, PUBLIC, recognises=False),
    Route("GET", "/metrics", metrics, PUBLIC),  # the handler wants a process of this machine or an administrator
    Route("GET", r"/static/{digest:[0-9a-f]{1,64}}/{name:[a-z0-9.-]{1,64}}", static_file, PUBLIC, recognises=False),
    Route("GET", "/login", show_login, PUBLIC),
    Route("POST", "/login", log_in, PUBLIC),
    Route("GET", r"/language/{language:[a-z]{2}}", choose_language, PUBLIC, recognises=False),
    Route("GET", r"/theme/{theme:[a-z]{4,5}}", choose_theme, PUBLIC, recognises=False),
    *(  # of virtual PBXs: signed, or with a token in the address
        Route(method, f"{_HOOK}{tail}", take_hook, PUBLIC, recognises=False)
        for method in ("GET", "POST")
        for tail in ("", r"/{tail:.{0,300}}")
    ),
    *(  # of CRMs: the address is the secret
        Route(method, r"/shared/{token:[A-Za-z0-9_-]{20,64}}.mp3", send_shared, PUBLIC, recognises=False)
        for method in ("GET", "HEAD")
    ),
    *ADMIN_ROUTES,
    Route("POST", "/logout", log_out, EVERYBODY),
    Route("GET", "/", home, EVERYBODY),
    Route("GET", "/find", show_find, EVERYBODY),
    Route("POST", "/find/saved", save_search, EVERYBODY),
    Route("POST", f"/find/saved/{_ID}/remove", remove_search, EVERYBODY),  # of his own, as below
    Route("GET", "/cards", list_cards, EVERYBODY),
    Route("GET", "/cards/suggested", suggest_cards, EVERYBODY),  # of those he sees
    Route("GET", f"/cards/{_ID}", show_card, EVERYBODY),
    Route("POST", "/cards", add_card, EVERYBODY),
    Route("POST", f"/cards/{_ID}", change_card, EVERYBODY),  # of one he sees, as below
    Route("POST", f"/cards/{_ID}/contact-points", add_contact, EVERYBODY),
    Route("POST", f"/cards/{_ID}/contact-points/remove", remove_contact, EVERYBODY),
    Route("POST", f"/cards/{_ID}/proposals", answer_proposal, EVERYBODY),
    Route("POST", f"/cards/{_ID}/notes", add_note, EVERYBODY),
    Route("POST", f"/cards/{_ID}/notes/remove", remove_note, EVERYBODY),
    Route("POST", f"/cards/{_ID}/tasks", add_task, EVERYBODY),
    Route("GET", "/tasks", list_tasks, EVERYBODY),
    Route("POST", f"/tasks/{_ID}", change_task, EVERYBODY),  # one's own, or of a card he sees
    Route("POST", f"/tasks/{_ID}/done", finish_task, EVERYBODY),
    Route("POST", f"/tasks/{_ID}/open", reopen_task, EVERYBODY),
    Route("GET", "/private", list_private, EVERYBODY),
    Route("POST", f"/interactions/{_ID}/private", make_private, EVERYBODY),  # one he himself took part in
    Route("POST", f"/interactions/{_ID}/public", make_public, EVERYBODY),  # one he himself has made private
    Route("POST", f"/interactions/{_ID}/not-client", take_off, EVERYBODY),  # of one he sees, from a card he sees
    Route("POST", f"/cards/{_ID}/merge", merge_cards, SUPERVISORS),
    Route("POST", f"/cards/{_ID}/split", split_card, SUPERVISORS),
    Route("POST", f"/cards/{_ID}/distinct", keep_apart, SUPERVISORS),
    Route("POST", f"/merges/{_ID}/undo", undo_merge, SUPERVISORS),
    Route("GET", "/duplicates", list_duplicates, SUPERVISORS, whole=True),
    Route("GET", "/cards/import", show_upload, SUPERVISORS, whole=True),
    Route("POST", "/cards/import", upload, SUPERVISORS, largest=LARGEST_FORM, whole=True),
    Route("GET", f"/cards/import/{_ID}", show_import, SUPERVISORS, whole=True),
    Route("POST", f"/cards/import/{_ID}", change_plan, SUPERVISORS, whole=True),
    Route("POST", f"/cards/import/{_ID}/apply", apply_import, SUPERVISORS, whole=True),
    Route("GET", "/cards/export.csv", export_cards, SUPERVISORS, whole=True),
    Route("GET", "/decisions", list_decisions, SUPERVISORS, whole=True),
    Route("POST", "/decisions", make_rule, SUPERVISORS, whole=True),
    Route("POST", f"/decisions/{_ID}/revoke", revoke_rule, SUPERVISORS, whole=True),
    Route("POST", "/line-policies", save_policy, ADMINISTRATORS),
    Route("POST", f"/line-policies/{_ID}/remove", remove_policy, ADMINISTRATORS),
    Route("POST", f"/interactions/{_ID}/card", relink_entry, EVERYBODY),  # of one he sees, to a card he sees
    Route("GET", f"/interactions/{_ID}", show_interaction, EVERYBODY),
    Route("GET", f"/interactions/{_ID}/html", show_mail_html, EVERYBODY),
    Route("GET", f"/recordings/{_ID}", send_recording, EVERYBODY),
    Route("HEAD", f"/recordings/{_ID}", send_recording, EVERYBODY),
    Route("GET", f"/recordings/{_ID}/peaks", send_peaks, EVERYBODY),
    Route("GET", f"/recordings/{_ID}/words", send_words, EVERYBODY),
    Route("GET", f"/recordings/{_ID}/said", show_said_of, EVERYBODY),
    Route("POST", f"/interactions/{_ID}/comments", add_comment, EVERYBODY),
    Route("POST", f"/comments/{_ID}/remove", remove_comment, EVERYBODY),  # one's own, or by an administrator
    Route("POST", f"/utterances/{_ID}", correct_utterance, EVERYBODY),
    Route("POST", f"/carried-corrections/{_ID}", settle_correction, EVERYBODY),
    Route("POST", f"/recordings/{_ID}/transcribe", ask_again, SUPERVISORS),
    Route("POST", f"/transcripts/{_ID}/show", show_transcript, SUPERVISORS),
    Route("GET", f"/attachments/{_ID}", download_attachment, EVERYBODY),
    Route("GET", f"/attachments/{_ID}/view", show_file, EVERYBODY),
    Route("GET", f"/attachments/{_ID}/picture", show_picture, EVERYBODY),
    Route("GET", f"/evidence/{_ID}/source", show_source, EVERYBODY),
    Route("GET", f"/evidence/{_ID}/original", download_original, EVERYBODY),
    Route("GET", "/unsorted", show_unsorted, EVERYBODY),
    Route("POST", "/unsorted/card", make_card, EVERYBODY),
    Route("POST", "/unsorted/contact-point", add_contact_point, EVERYBODY),
    Route("POST", "/unsorted/decision", decide, EVERYBODY),
    Route("POST", "/unsorted/aside", set_aside, EVERYBODY),
    Route("POST", "/unsorted/near", unite_near, SUPERVISORS),  # of two that he sees
    Route("POST", "/unsorted/unreadable", settle_unreadable, SUPERVISORS, whole=True),
    Route("POST", "/unsorted/delivery", settle_failed_delivery, SUPERVISORS, whole=True),
    Route("POST", "/unsorted/job", settle_job, ADMINISTRATORS),
    Route("GET", "/live", show_live, EVERYBODY),
    Route("GET", "/events", stream_events, EVERYBODY),
    Route("GET", f"/calls/{_ID}/listen", listen_in, EVERYBODY),  # a manager in calls of his own only, as below
    Route("GET", "/sources", list_sources, SUPERVISORS, whole=True),
    Route("GET", "/crm", show_crms, SUPERVISORS, whole=True),
    Route("POST", "/crm/retry", retry_deliveries, SUPERVISORS, whole=True),
    Route("POST", "/crm/drop", drop_delivery, SUPERVISORS, whole=True),
    Route("POST", f"/crm/{_ID}/users", map_employee, ADMINISTRATORS),
    Route("GET", "/employees", list_employees, ADMINISTRATORS),
    Route("POST", "/employees", add_employee, ADMINISTRATORS),
    Route("POST", f"/employees/{_ID}/identities", add_identity, ADMINISTRATORS),
    Route("POST", f"/employees/{_ID}/name", rename_employee, ADMINISTRATORS),
    Route("POST", f"/identities/{_ID}/end", end_identity, ADMINISTRATORS),
    Route("POST", f"/identities/{_ID}/remove", remove_identity, ADMINISTRATORS),
    Route("POST", "/extensions", decide_extension, ADMINISTRATORS),
    Route("POST", "/extensions/list", paste_extensions, ADMINISTRATORS),
    Route("GET", "/mail-rules", list_mail_rules, ADMINISTRATORS),
    Route("POST", "/mail-rules/resort", resort_mails, ADMINISTRATORS),
    Route("GET", f"/mail-rules/{_ID}", show_mail_rule, ADMINISTRATORS),
    Route("POST", f"/mail-rules/{_ID}", save_mail_rule, ADMINISTRATORS),
    Route("POST", f"/mail-rules/{_ID}/try", try_mail_rule, ADMINISTRATORS),
    Route("POST", f"/mail-rules/{_ID}/move", move_mail_rule, ADMINISTRATORS),
    Route("POST", f"/mail-rules/{_ID}/remove", remove_mail_rule, ADMINISTRATORS),
    Route("POST", "/mail-domains", add_own_domain, ADMINISTRATORS),
    Route("POST", f"/mail-domains/{_ID}/remove", remove_own_domain, ADMINISTRATORS),
    Route("POST", f"/interactions/{_ID}/meeting", say_of_meeting, EVERYBODY),  # of one he sees, as below
    Route("POST", f"/evidence/{_ID}/separate", separate_call, SUPERVISORS),
    Route("POST", f"/interactions/{_ID}/unite", unite_calls, SUPERVISORS),
    Route("POST", f"/interactions/{_ID}/credit", credit_call, SUPERVISORS),
    *API_TABLE,
)
