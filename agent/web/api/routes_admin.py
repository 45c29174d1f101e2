"""The API's part of the table of routes that administrators use."""

from __future__ import annotations

from agent.store.tokens import ADMIN, READ, WRITE
from agent.web.api import accounts, keeping, mailrules, masking
from agent.web.api.shapes import API
from agent.web.guard import ADMINISTRATORS, Route

_ID = r"{id:\d{1,18}}"
_ACCOUNT = f"{API}/accounts/{_ID}"
_RULE = f"{API}/mail-rules/{_ID}"
_MASK = f"{API}/mask-rules/{_ID}"

ADMIN_API_TABLE = (
    Route("GET", f"{API}/mail-rules", mailrules.list_rules, ADMINISTRATORS, scope=READ),
    Route("POST", f"{API}/mail-rules", mailrules.add_rule, ADMINISTRATORS, scope=WRITE),
    Route("POST", f"{API}/mail-rules/try", mailrules.try_rule, ADMINISTRATORS, scope=WRITE),
    Route("POST", f"{API}/mail-rules/resort", mailrules.resort, ADMINISTRATORS, scope=WRITE),
    Route("GET", _RULE, mailrules.show_rule, ADMINISTRATORS, scope=READ),
    Route("PUT", _RULE, mailrules.change_rule, ADMINISTRATORS, scope=WRITE),
    Route("DELETE", _RULE, mailrules.remove_rule, ADMINISTRATORS, scope=WRITE),
    Route("POST", f"{_RULE}/move", mailrules.move_rule, ADMINISTRATORS, scope=WRITE),
    Route("GET", f"{API}/mail-domains", mailrules.list_domains, ADMINISTRATORS, scope=READ),
    Route("POST", f"{API}/mail-domains", mailrules.add_domain, ADMINISTRATORS, scope=WRITE),
    Route("DELETE", f"{API}/mail-domains/{_ID}", mailrules.remove_domain, ADMINISTRATORS, scope=WRITE),
    # What is masked in the text of calls (what was masked is gone for good), and the company's own words
    Route("GET", f"{API}/mask-rules", masking.list_rules, ADMINISTRATORS, scope=READ),
    Route("POST", f"{API}/mask-rules", masking.add_rule, ADMINISTRATORS, scope=ADMIN),
    Route("POST", f"{API}/mask-rules/try", masking.try_one, ADMINISTRATORS, scope=READ),
    Route("POST", f"{API}/mask-rules/run", masking.mask_older, ADMINISTRATORS, scope=ADMIN),
    Route("GET", _MASK, masking.show_rule, ADMINISTRATORS, scope=READ),
    Route("PUT", _MASK, masking.change_rule, ADMINISTRATORS, scope=ADMIN),
    Route("DELETE", _MASK, masking.remove_rule, ADMINISTRATORS, scope=ADMIN),
    Route("GET", f"{API}/glossary", masking.show_glossary, ADMINISTRATORS, scope=READ),
    Route("PUT", f"{API}/glossary", masking.save_glossary, ADMINISTRATORS, scope=WRITE),
    # Who may log in, and programs
    Route("GET", f"{API}/accounts", accounts.list_accounts, ADMINISTRATORS, scope=READ),
    Route("POST", f"{API}/accounts", accounts.add_account, ADMINISTRATORS, scope=ADMIN),
    Route("GET", _ACCOUNT, accounts.show_account, ADMINISTRATORS, scope=READ),
    Route("PATCH", _ACCOUNT, accounts.change_account, ADMINISTRATORS, scope=ADMIN),
    Route("PUT", f"{_ACCOUNT}/disabled", accounts.disable_account, ADMINISTRATORS, scope=ADMIN),
    Route("POST", f"{_ACCOUNT}/invitation", accounts.invite, ADMINISTRATORS, scope=ADMIN),
    Route("DELETE", f"{_ACCOUNT}/second-factor", accounts.reset_factor, ADMINISTRATORS, scope=ADMIN),
    Route("DELETE", f"{_ACCOUNT}/logins", accounts.end_logins, ADMINISTRATORS, scope=ADMIN),
    Route("GET", f"{API}/tokens", accounts.list_tokens, ADMINISTRATORS, scope=READ),
    Route("POST", f"{API}/tokens", accounts.add_token, ADMINISTRATORS, scope=ADMIN),
    Route("DELETE", f"{API}/tokens/{_ID}", accounts.revoke_token, ADMINISTRATORS, scope=ADMIN),
    # How long things are kept
    Route("GET", f"{API}/retention", keeping.show_policy, ADMINISTRATORS, scope=READ),
    Route("PUT", f"{API}/retention", keeping.save_policy, ADMINISTRATORS, scope=ADMIN),
    Route("GET", f"{API}/retention/foreseen", keeping.foresee, ADMINISTRATORS, scope=READ),
    Route("GET", f"{API}/holds", keeping.list_holds, ADMINISTRATORS, scope=READ),
    Route("PUT", f"{API}/holds/{_ID}", keeping.hold, ADMINISTRATORS, scope=ADMIN),
    Route("DELETE", f"{API}/holds/{_ID}", keeping.release, ADMINISTRATORS, scope=ADMIN),
)
