"""Rules that sort mail: an administrator changes them, tries them on the newest mails, and sorts all mails anew."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from multidict import MultiDictProxy
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import Identity, IdentityKind, MessageCategory
from agent.store import audit, employees, rules
from agent.store.rules import MailRule
from agent.store.runs import MAILS, Run
from agent.web.employees import account_of
from agent.web.pages import page
from agent.web.services import login_of, number_in, services
from linker import resort
from linker.normalize import PUBLIC_DOMAINS, normalize_address
from linker.rules import FIELDS
from linker.trial import Trial, try_rules

Form = MultiDictProxy[str | bytes | bytearray | web.FileField]

CHOICES = {
    "direction": ("inbound", "outbound", "internal"),
    "marked": tuple(one.value for one in MessageCategory if one.value not in ("internal", "private")),
    "list": ("client", "own"),
}
"""Fields whose values are chosen; the others take words."""

TAGS = ("proposal", "invoice", "contract")
LONGEST_NAME = 100
LONGEST_TAG = 40
LONGEST_VALUE = 200
MOST_VALUES = 50
_LONGEST_DOMAIN = 253


async def list_mail_rules(request: web.Request) -> web.StreamResponse:
    """All rules in their order, our own domains, and how many mails there are of each category."""
    return await _list(request)


async def show_mail_rule(request: web.Request) -> web.StreamResponse:
    """One rule in a form; number 0 is a new one."""
    number = number_in(request)
    async with services(request).store.begin() as connection:
        found = next((one for one in await rules.list_rules(connection) if one.id == number), None)
    if found is None and number:
        raise web.HTTPNotFound
    return _form(request, found or MailRule(id=0, place=0, name="", conditions=_begun(request)))


def _begun(request: web.Request) -> dict[str, list[str]]:
    """With whom a new rule begins, where one comes from a mail."""
    sender = " ".join(request.query.get("from", "").replace("\0", "").replace(",", " ").split())[:LONGEST_VALUE]
    return {"from": [sender]} if sender else {}


async def try_mail_rule(request: web.Request) -> web.StreamResponse:
    """What the rule in the form would change among the newest mails; nothing is saved."""
    rule, problem = _read(number_in(request), await request.post())
    if problem:
        return _form(request, rule, problem=problem)
    async with services(request).store.begin() as connection:
        trial = await try_rules(connection, with_rule(await rules.list_rules(connection), rule))
    return _form(request, rule, trial=trial)


async def save_mail_rule(request: web.Request) -> web.StreamResponse:
    """It counts for what comes from now on; with ``resort``, also for all mails there are."""
    form = await request.post()
    rule, problem = _read(number_in(request), form)
    if problem:
        return _form(request, rule, problem=problem)
    async with services(request).store.begin() as connection:
        await keep_rule(request, connection, rule)
        if form.get("resort"):
            await resort.start(connection, login_of(request).login)
    raise web.HTTPSeeOther("/mail-rules")


async def keep_rule(request: web.Request, connection: AsyncConnection, rule: MailRule) -> int:
    """The same for the API: a rule changed, or a new one (its id is 0) before all others; returns its id.

    Raises:
        HTTPNotFound: there is no such rule.
    """
    if rule.id and rule.id not in {one.id for one in await rules.list_rules(connection)}:
        raise web.HTTPNotFound
    number = await rules.save_rule(connection, rule)
    subject = {"rule_id": number, "name": rule.name, "enabled": rule.enabled, "conditions": dict(rule.conditions)}
    await audit.add_entry(connection, account_of(request), audit.MAIL_RULE_SAVED, subject)
    return number


async def remove_mail_rule(request: web.Request) -> web.StreamResponse:
    """Forget a rule that was made here."""
    async with services(request).store.begin() as connection:
        await forget_rule(request, connection, number_in(request))
    raise web.HTTPSeeOther("/mail-rules")


async def forget_rule(request: web.Request, connection: AsyncConnection, number: int) -> None:
    """The same for the API.

    Raises:
        HTTPNotFound: there is none, or it comes with the program.
    """
    if not await rules.remove_rule(connection, number):
        raise web.HTTPNotFound
    await audit.add_entry(connection, account_of(request), audit.MAIL_RULE_REMOVED, {"rule_id": number})


async def move_mail_rule(request: web.Request) -> web.StreamResponse:
    """One place up or down: the first rule that fits decides."""
    is_up = (await request.post()).get("way") == "up"
    async with services(request).store.begin() as connection:
        await swap_rule(request, connection, number_in(request), up=is_up)
    raise web.HTTPSeeOther(f"/mail-rules#rule-{number_in(request)}")


async def swap_rule(request: web.Request, connection: AsyncConnection, number: int, *, up: bool) -> None:
    """The same for the API."""
    await rules.move_rule(connection, number, up=up)
    await audit.add_entry(connection, account_of(request), audit.MAIL_RULE_MOVED, {"rule_id": number, "up": up})


async def resort_mails(request: web.Request) -> web.StreamResponse:
    """Have all mails sorted anew by the rules as they stand."""
    async with services(request).store.begin() as connection:
        await resort_all(request, connection)
    raise web.HTTPSeeOther("/mail-rules")


async def resort_all(request: web.Request, connection: AsyncConnection) -> Run:
    """The same for the API."""
    run = await resort.start(connection, login_of(request).login)
    await audit.add_entry(connection, account_of(request), audit.MAILS_RESORTED, {"run_id": run.id})
    return run


async def add_own_domain(request: web.Request) -> web.StreamResponse:
    """Whoever writes from this domain is one of us; mails of before are decided anew."""
    domain = read_domain(str((await request.post()).get("domain", "")))
    if domain is None:
        return await _list(request, problem="domain_wrong")
    async with services(request).store.begin() as connection:
        await own(request, connection, domain)
    raise web.HTTPSeeOther("/mail-rules#domains")


async def own(request: web.Request, connection: AsyncConnection, domain: Identity) -> None:
    """The same for the API."""
    if domain not in {one.identity for one in await employees.list_own_domains(connection)}:
        await services(request).linker.add_employee_identity(connection, None, domain, label="own domain")
        await audit.add_entry(connection, account_of(request), audit.OWN_DOMAIN_ADDED, {"domain": domain.value})


async def remove_own_domain(request: web.Request) -> web.StreamResponse:
    """It is not ours; mails of before are decided anew."""
    async with services(request).store.begin() as connection:
        await disown(request, connection, number_in(request))
    raise web.HTTPSeeOther("/mail-rules#domains")


async def disown(request: web.Request, connection: AsyncConnection, number: int) -> None:
    """The same for the API.

    Raises:
        HTTPNotFound: it is no domain of ours.
    """
    held = await employees.find_identity(connection, number)
    if held is None or held.identity.kind is not IdentityKind.DOMAIN:
        raise web.HTTPNotFound
    await services(request).linker.remove_employee_identity(connection, held)
    await audit.add_entry(connection, account_of(request), audit.OWN_DOMAIN_REMOVED, {"domain": held.identity.value})


async def _list(request: web.Request, *, problem: str = "") -> web.Response:
    async with services(request).store.begin() as connection:
        found = await rules.list_rules(connection)
        counts = await rules.count_categories(connection)
        domains = await employees.list_own_domains(connection)
        used = set(await employees.list_address_domains(connection)) - PUBLIC_DOMAINS
        run = await MAILS.find(connection)
    return page(
        request,
        "mail_rules.html",
        status=400 if problem else 200,
        rules=found,
        counts=[(one.value, counts.get(one, 0)) for one in MessageCategory],
        domains=domains,
        suggested=sorted(used - {one.identity.value for one in domains}),
        run=run,
        problem=problem,
    )


def _form(request: web.Request, rule: MailRule, *, problem: str = "", trial: Trial | None = None) -> web.Response:
    return page(
        request,
        "mail_rule.html",
        status=400 if problem else 200,
        rule=rule,
        fields=FIELDS,
        choices=CHOICES,
        categories=[one.value for one in MessageCategory],
        tags=TAGS,
        values={name: ", ".join(rule.conditions.get(name, ())) for name in FIELDS},
        problem=problem,
        trial=trial,
    )


def with_rule(known: Sequence[MailRule], rule: MailRule) -> list[MailRule]:
    """The rules as they would be with this one saved."""
    if not rule.id:
        return [rule, *known]
    return [rule if one.id == rule.id else one for one in known]


def _read(number: int, form: Form) -> tuple[MailRule, str]:
    """The rule in a form, and what is wrong with it."""
    name = _text(form, "name", LONGEST_NAME)
    kind, _, result = _text(form, "result", LONGEST_NAME).partition(":")
    category = MessageCategory(result) if kind == "category" and result in list(MessageCategory) else None
    tag = (result or _text(form, "tag", LONGEST_TAG)) if kind == "tag" else None
    conditions = {field: values for field in FIELDS if (values := _values(form, field))}
    rule = MailRule(
        id=number,
        place=0,
        name=name,
        conditions=conditions,
        category=category,
        tag=tag or None,
        enabled=bool(form.get("enabled")),
    )
    if not name:
        return rule, "name_missing"
    if category is None and not tag:
        return rule, "rule_without_result"
    return rule, "" if conditions else "rule_without_conditions"


def _values(form: Form, field: str) -> list[str]:
    """What stands between commas or on lines, or was chosen; empty: the rule does not ask for it."""
    if field in CHOICES:
        return [one for one in map(str, form.getall(f"field_{field}", ())) if one in CHOICES[field]]
    text = _text(form, f"field_{field}", LONGEST_VALUE * MOST_VALUES)
    values = (" ".join(one.split())[:LONGEST_VALUE] for one in text.replace("\n", ",").split(","))
    return list(dict.fromkeys(one for one in values if one))[:MOST_VALUES]


def _text(form: Form, name: str, longest: int) -> str:
    return str(form.get(name, "")).replace("\0", "").strip()[:longest]


def read_domain(text: str) -> Identity | None:
    """A domain in ASCII that a company may have; a provider's, at which anybody has a mailbox, is nobody's own."""
    name = text.strip().lower().removeprefix("@").rstrip(".")
    address = normalize_address(f"postmaster@{name}") if "\0" not in name and "." in name else None
    if address is None:
        return None
    domain = address.value.rpartition("@")[2]
    if domain in PUBLIC_DOMAINS or len(domain) > _LONGEST_DOMAIN:
        return None
    return Identity(kind=IdentityKind.DOMAIN, value=domain)
