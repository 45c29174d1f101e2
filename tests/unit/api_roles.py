"""The API's table of routes written a second time by hand: who may call what, and what a token needs.

A call that is added or widened must be added or widened here too, and in agent/web/api/openapi.yaml.
"""

from __future__ import annotations

from agent.model import UserRole

A, S, M = UserRole.ADMINISTRATOR, UserRole.SUPERVISOR, UserRole.MANAGER
ALL, BOSSES, ADMINS = {A, S, M}, {A, S}, {A}

# Of the whole company's: a supervisor of some teams may not call these.
WHOLE = {
    "/api/v1/duplicates",
    "/api/v1/unreadable",
    "/api/v1/decisions",
    "/api/v1/decisions/{id}",
    "/api/v1/line-policies",
    "/api/v1/sources",
    "/api/v1/crms",
    "/api/v1/crms/failed",
    "/api/v1/crms/retry",
}

API: dict[tuple[str, str], tuple[set[UserRole], str]] = {
    ("GET", "/api/v1/openapi.yaml"): (ALL, "read"),
    ("GET", "/api/v1/openapi.json"): (ALL, "read"),
    ("GET", "/api/v1/me"): (ALL, "read"),
    ("GET", "/api/v1/cards"): (ALL, "read"),
    ("POST", "/api/v1/cards"): (ALL, "write"),
    ("GET", "/api/v1/cards/{id}"): (ALL, "read"),
    ("PATCH", "/api/v1/cards/{id}"): (ALL, "write"),
    ("POST", "/api/v1/cards/{id}/contact-points"): (ALL, "write"),
    ("DELETE", "/api/v1/cards/{id}/contact-points/{point}"): (ALL, "write"),
    ("GET", "/api/v1/cards/{id}/notes"): (ALL, "read"),
    ("POST", "/api/v1/cards/{id}/notes"): (ALL, "write"),
    ("DELETE", "/api/v1/cards/{id}/notes/{note}"): (ALL, "write"),
    ("GET", "/api/v1/cards/{id}/stages"): (ALL, "read"),
    ("GET", "/api/v1/cards/{id}/proposals"): (ALL, "read"),
    ("POST", "/api/v1/cards/{id}/proposals/{proposal}"): (ALL, "write"),
    ("POST", "/api/v1/cards/{id}/merge"): (BOSSES, "write"),
    ("POST", "/api/v1/cards/{id}/split"): (BOSSES, "write"),
    ("POST", "/api/v1/cards/{id}/distinct"): (BOSSES, "write"),
    ("POST", "/api/v1/merges/{id}/undo"): (BOSSES, "write"),
    ("GET", "/api/v1/duplicates"): (BOSSES, "read"),
    ("GET", "/api/v1/interactions"): (ALL, "read"),
    ("GET", "/api/v1/interactions/{id}"): (ALL, "read"),
    ("GET", "/api/v1/interactions/{id}/transcripts"): (ALL, "read"),
    ("GET", "/api/v1/interactions/{id}/evidence"): (ALL, "read"),
    ("GET", "/api/v1/interactions/{id}/html"): (ALL, "read"),
    ("PUT", "/api/v1/interactions/{id}/card"): (ALL, "write"),
    ("PUT", "/api/v1/interactions/{id}/meeting"): (ALL, "write"),
    ("PUT", "/api/v1/interactions/{id}/credit"): (BOSSES, "write"),
    ("POST", "/api/v1/interactions/{id}/unite"): (BOSSES, "write"),
    ("POST", "/api/v1/evidence/{id}/separate"): (BOSSES, "write"),
    ("GET", "/api/v1/evidence/{id}/original"): (ALL, "read"),
    ("GET", "/api/v1/attachments/{id}"): (ALL, "read"),
    ("GET", "/api/v1/recordings/{id}"): (ALL, "listen"),
    ("HEAD", "/api/v1/recordings/{id}"): (ALL, "listen"),
    ("GET", "/api/v1/events"): (ALL, "read"),
    ("GET", "/api/v1/calls"): (ALL, "read"),
    ("GET", "/api/v1/calls/{id}/listen"): (ALL, "listen"),
    ("POST", "/api/v1/calls/{id}/pause"): (ALL, "calls:pause"),
    ("POST", "/api/v1/calls/{id}/resume"): (ALL, "calls:pause"),
    ("POST", "/api/v1/pause"): (ALL, "calls:pause"),
    ("POST", "/api/v1/resume"): (ALL, "calls:pause"),
    ("GET", "/api/v1/unsorted"): (ALL, "read"),
    ("POST", "/api/v1/unsorted/card"): (ALL, "write"),
    ("POST", "/api/v1/unsorted/contact-point"): (ALL, "write"),
    ("POST", "/api/v1/unsorted/decision"): (ALL, "write"),
    ("GET", "/api/v1/unreadable"): (BOSSES, "read"),
    ("GET", "/api/v1/decisions"): (BOSSES, "read"),
    ("POST", "/api/v1/decisions"): (BOSSES, "write"),
    ("DELETE", "/api/v1/decisions/{id}"): (BOSSES, "write"),
    ("GET", "/api/v1/line-policies"): (BOSSES, "read"),
    ("PUT", "/api/v1/line-policies"): (ADMINS, "write"),
    ("DELETE", "/api/v1/line-policies/{id}"): (ADMINS, "write"),
    ("GET", "/api/v1/employees"): (ALL, "read"),
    ("POST", "/api/v1/employees"): (ADMINS, "write"),
    ("PATCH", "/api/v1/employees/{id}"): (ADMINS, "write"),
    ("POST", "/api/v1/employees/{id}/identities"): (ADMINS, "write"),
    ("PATCH", "/api/v1/identities/{id}"): (ADMINS, "write"),
    ("DELETE", "/api/v1/identities/{id}"): (ADMINS, "write"),
    ("GET", "/api/v1/extensions"): (ADMINS, "read"),
    ("PUT", "/api/v1/extensions/{extension}"): (ADMINS, "write"),
    ("GET", "/api/v1/teams"): (ADMINS, "read"),
    ("GET", "/api/v1/sources"): (BOSSES, "read"),
    ("GET", "/api/v1/crms"): (BOSSES, "read"),
    ("GET", "/api/v1/crms/failed"): (BOSSES, "read"),
    ("POST", "/api/v1/crms/retry"): (BOSSES, "write"),
    ("GET", "/api/v1/audit"): (ADMINS, "read"),
}
