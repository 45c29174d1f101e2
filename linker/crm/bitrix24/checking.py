"""`cardline crm check` for Bitrix24: rights by its own word, other telephony by the calls of the last month."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from agent.errors import CardlineError
from linker.crm.bitrix24.api import Api, Command
from linker.crm.facts import Finding
from linker.crm.protocol import CrmAuthFailed, CrmRightsMissing, CrmUnreachable
from linker.crm.shapes import as_list, as_object, words

_LOOKED_BACK = timedelta(days=30)
_SCOPES = {
    "crm": "cards, deals and activities",
    "user": "who works there",
    "telephony": "calls, recordings, transcripts and what others log",
}


async def check(api: Api) -> Sequence[Finding]:
    """Reads only."""
    since = (datetime.now(UTC) - _LOOKED_BACK).isoformat(timespec="seconds")
    commands: dict[str, Command] = {
        "profile": ("profile", {}),
        "scope": ("scope", {}),
        "fields": ("crm.activity.fields", {}),
        "contacts": ("crm.contact.list", {"select": ["ID"], "start": -1}),
        "deals": ("crm.deal.list", {"select": ["ID"], "start": -1}),
        "users": ("user.get", {}),
        "calls": (
            "voximplant.statistic.get",
            {"FILTER": {">=CALL_START_DATE": since}, "SORT": "ID", "ORDER": "DESC"},
        ),
    }
    if api.is_application:
        commands["app"] = ("app.info", {})
    try:
        batch = await api.batch(commands)
    except (CrmAuthFailed, CrmRightsMissing, CrmUnreachable) as error:
        return [Finding(subject="login", level="fault", text=str(error))]
    findings = [_login(as_object(batch["profile"]), is_application=api.is_application)]
    scopes = {words(one) for one in as_list(batch["scope"])} if "scope" not in batch.errors else set()
    for scope, need in _SCOPES.items():
        findings.append(_scope(scope, need, given=scope in scopes))
    if api.is_application and "disk" not in scopes:
        text = "Recordings cannot be deleted there when an interaction is erased. Give the application the scope disk."
        findings.append(Finding(subject="scope disk", level="warning", text=text))
    for name in ("fields", "contacts", "deals", "users", "calls"):
        if isinstance(refusal := batch.errors.get(name), CardlineError):
            findings.append(Finding(subject=commands[name][0], level="fault", text=str(refusal)))
    if "calls" not in batch.errors:
        own = words(as_object(batch["app"]).get("CODE")) if "app" not in batch.errors and api.is_application else ""
        apps = {words(row.get("REST_APP_NAME")) or "Bitrix24" for row in batch.rows("calls") if _is_other(row, own)}
        findings += [_other(name) for name in sorted(apps)]
    return findings


def _is_other(row: dict[str, object], own: str) -> bool:
    return not words(row.get("EXTERNAL_CALL_ID")).startswith("cardline-") and words(row.get("REST_APP_NAME")) != own


def _login(profile: dict[str, object], *, is_application: bool) -> Finding:
    name = " ".join(words(profile.get(part)) for part in ("NAME", "LAST_NAME")).strip()
    if is_application:
        return Finding(subject="login", level="ok", text=f"An application, let in by {name or 'a user'}.")
    text = (
        f"A webhook of {name or 'a user'}: calls do not count in the reports of the telephony. "
        "Attach Cardline as a local application; docs/crm/bitrix24.md."
    )
    return Finding(subject="login", level="warning", text=text)


def _scope(scope: str, need: str, *, given: bool) -> Finding:
    if given:
        return Finding(subject=f"scope {scope}", level="ok", text=need)
    text = f"Missing, for {need}. Give it to the application or webhook in Bitrix24."
    return Finding(subject=f"scope {scope}", level="fault", text=text)


def _other(name: str) -> Finding:
    text = f"{name} logs calls as well. Set enrich = true, so that no call stands there twice, or switch it off."
    return Finding(subject="other integrations", level="warning", text=text)
