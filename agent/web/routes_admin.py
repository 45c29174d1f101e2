"""The part of the table of routes about logins, one's own account, and settings."""

from __future__ import annotations

from agent.web.accounts import (
    add_account,
    change_account,
    disable_account,
    end_logins,
    invite,
    list_accounts,
    reset_factor,
    show_account,
    show_invitation,
    take_invitation,
)
from agent.web.administration import show_keys, show_settings, skip_step
from agent.web.apitokens import add_token, list_tokens, revoke_token
from agent.web.auditlog import export_audit, show_audit
from agent.web.guard import ADMINISTRATORS, EVERYBODY, SUPERVISORS, Route
from agent.web.masking import (
    list_mask_rules,
    mask_older,
    remove_mask_rule,
    save_glossary,
    save_mask_rule,
    show_glossary,
    show_mask_rule,
    try_mask_rule,
)
from agent.web.me import (
    begin_factor,
    change_password,
    confirm_factor,
    remove_factor,
    renew_recovery_codes,
    show_me,
)
from agent.web.me import end_logins as end_own_logins
from agent.web.oidc import come_back, go_to_provider
from agent.web.retention import hold_card, release_card, save_retention, show_retention
from agent.web.secondstep import check_code, confirm_enrolment, show_code, show_enrolment
from agent.web.teams import add_member, add_team, end_member, list_teams, remove_member, remove_team, rename_team

_ID = r"{id:\d{1,18}}"
_INVITATION = r"/invitation/{token:[A-Za-z0-9_-]{20,64}}"

ADMIN_ROUTES = (
    # With a login that waits for its second factor; the handlers want that, and its form's token
    Route("GET", "/login/code", show_code, None),
    Route("POST", "/login/code", check_code, None),
    Route("GET", "/login/second-factor", show_enrolment, None),
    Route("POST", "/login/second-factor", confirm_enrolment, None),
    Route("GET", "/login/oidc", go_to_provider, None, recognises=False),
    Route("GET", "/login/oidc/back", come_back, None, recognises=False),
    *(  # the address is the secret
        Route(method, _INVITATION, handler, None, recognises=False)
        for method, handler in (("GET", show_invitation), ("POST", take_invitation))
    ),
    Route("GET", "/me", show_me, EVERYBODY),
    Route("POST", "/me/password", change_password, EVERYBODY),
    Route("POST", "/me/second-factor", begin_factor, EVERYBODY),
    Route("POST", "/me/second-factor/confirm", confirm_factor, EVERYBODY),
    Route("POST", "/me/second-factor/remove", remove_factor, EVERYBODY),
    Route("POST", "/me/second-factor/codes", renew_recovery_codes, EVERYBODY),
    Route("POST", "/me/logins/end", end_own_logins, EVERYBODY),
    Route("GET", "/settings", show_settings, SUPERVISORS),
    Route("POST", "/settings/guide/skip", skip_step, ADMINISTRATORS),
    Route("GET", "/accounts", list_accounts, ADMINISTRATORS),
    Route("POST", "/accounts", add_account, ADMINISTRATORS),
    Route("GET", f"/accounts/{_ID}", show_account, ADMINISTRATORS),
    Route("POST", f"/accounts/{_ID}", change_account, ADMINISTRATORS),
    Route("POST", f"/accounts/{_ID}/invite", invite, ADMINISTRATORS),
    Route("POST", f"/accounts/{_ID}/disable", disable_account, ADMINISTRATORS),
    Route("POST", f"/accounts/{_ID}/second-factor/reset", reset_factor, ADMINISTRATORS),
    Route("POST", f"/accounts/{_ID}/logins/end", end_logins, ADMINISTRATORS),
    Route("GET", "/teams", list_teams, ADMINISTRATORS),
    Route("POST", "/teams", add_team, ADMINISTRATORS),
    Route("POST", f"/teams/{_ID}/name", rename_team, ADMINISTRATORS),
    Route("POST", f"/teams/{_ID}/remove", remove_team, ADMINISTRATORS),
    Route("POST", f"/teams/{_ID}/members", add_member, ADMINISTRATORS),
    Route("POST", f"/team-members/{_ID}/end", end_member, ADMINISTRATORS),
    Route("POST", f"/team-members/{_ID}/remove", remove_member, ADMINISTRATORS),
    Route("GET", "/tokens", list_tokens, ADMINISTRATORS),
    Route("POST", "/tokens", add_token, ADMINISTRATORS),
    Route("POST", f"/tokens/{_ID}/revoke", revoke_token, ADMINISTRATORS),
    Route("GET", "/audit", show_audit, ADMINISTRATORS),
    Route("GET", "/audit.csv", export_audit, ADMINISTRATORS),
    Route("GET", "/keys", show_keys, ADMINISTRATORS),
    Route("GET", "/masks", list_mask_rules, ADMINISTRATORS),
    Route("POST", "/masks/run", mask_older, ADMINISTRATORS),
    Route("GET", f"/masks/{_ID}", show_mask_rule, ADMINISTRATORS),
    Route("POST", f"/masks/{_ID}", save_mask_rule, ADMINISTRATORS),
    Route("POST", f"/masks/{_ID}/try", try_mask_rule, ADMINISTRATORS),
    Route("POST", f"/masks/{_ID}/remove", remove_mask_rule, ADMINISTRATORS),
    Route("GET", "/glossary", show_glossary, ADMINISTRATORS),
    Route("POST", "/glossary", save_glossary, ADMINISTRATORS),
    Route("GET", "/retention", show_retention, ADMINISTRATORS),
    Route("POST", "/retention", save_retention, ADMINISTRATORS),
    Route("POST", "/holds", hold_card, ADMINISTRATORS),
    Route("POST", f"/holds/{_ID}/release", release_card, ADMINISTRATORS),
)
