"""What is masked in the text of calls, and the company's own words: pages of an administrator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aiohttp import web
from multidict import MultiDictProxy
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.errors import Misconfigured
from agent.store import audit, glossary, masks
from agent.store.masks import MaskKind, MaskRule
from agent.store.runs import TRANSCRIPTS, Run
from agent.transcribe.masks import patterns, remasking
from agent.transcribe.masks.remasking import Trial
from agent.web.employees import account_of
from agent.web.pages import page
from agent.web.services import login_of, number_in, services

Form = MultiDictProxy[str | bytes | bytearray | web.FileField]

LONGEST_NAME = 100
LONGEST_TEXT = 20_000
_MOST_LINES = 500
_CHOSEN = (MaskKind.WORDS, MaskKind.PATTERN)  # card numbers come with the program


async def list_mask_rules(request: web.Request) -> web.StreamResponse:
    """All rules, and how far the last run over older transcripts is."""
    async with services(request).store.begin() as connection:
        found = await masks.list_rules(connection)
        run = await TRANSCRIPTS.find(connection)
    return page(request, "mask_rules.html", rules=found, run=run)


async def show_mask_rule(request: web.Request) -> web.StreamResponse:
    """One rule in a form; number 0 is a new one."""
    number = number_in(request)
    rule = await _find(request, number) if number else MaskRule(id=0, name="", kind=MaskKind.WORDS)
    return _form(request, rule)


async def try_mask_rule(request: web.Request) -> web.StreamResponse:
    """What the rule in the form would mask in the newest transcripts; nothing is saved."""
    rule, problem = await _read(request)
    if problem:
        return _form(request, rule, problem=problem)
    async with services(request).store.begin() as connection:
        trial = await remasking.try_rule(connection, replace(rule, enabled=True))
    return _form(request, rule, trial=trial)


async def save_mask_rule(request: web.Request) -> web.StreamResponse:
    """It counts for what is transcribed from now on; with ``run``, older transcripts too."""
    rule, problem = await _read(request)
    if problem:
        return _form(request, rule, problem=problem)
    async with services(request).store.begin() as connection:
        await keep_rule(request, connection, rule)
        if (await request.post()).get("run"):
            await remasking.start(connection, login_of(request).login)
    raise web.HTTPSeeOther("/masks")


async def keep_rule(request: web.Request, connection: AsyncConnection, rule: MaskRule) -> int:
    """The same for the API: a rule changed, or a new one (its id is 0); returns its id."""
    number = await masks.save_rule(connection, rule)
    subject = {"rule_id": number, "name": rule.name, "kind": rule.kind.value, "enabled": rule.enabled}
    await audit.add_entry(connection, account_of(request), audit.MASK_RULE_SAVED, subject)
    return number


async def remove_mask_rule(request: web.Request) -> web.StreamResponse:
    """Forget a rule that was made here; what it has masked stays masked."""
    async with services(request).store.begin() as connection:
        await forget_rule(request, connection, number_in(request))
    raise web.HTTPSeeOther("/masks")


async def forget_rule(request: web.Request, connection: AsyncConnection, number: int) -> None:
    """The same for the API.

    Raises:
        HTTPNotFound: there is none, or it comes with the program.
    """
    if not await masks.remove_rule(connection, number):
        raise web.HTTPNotFound
    await audit.add_entry(connection, account_of(request), audit.MASK_RULE_REMOVED, {"rule_id": number})


async def mask_older(request: web.Request) -> web.StreamResponse:
    """Have all transcripts looked through by the rules as they stand."""
    async with services(request).store.begin() as connection:
        await mask_all(request, connection)
    raise web.HTTPSeeOther("/masks")


async def mask_all(request: web.Request, connection: AsyncConnection) -> Run:
    """The same for the API."""
    run = await remasking.start(connection, login_of(request).login)
    await audit.add_entry(connection, account_of(request), audit.TRANSCRIPTS_MASKED, {"run_id": run.id})
    return run


async def _find(request: web.Request, number: int) -> MaskRule:
    async with services(request).store.begin() as connection:
        found = next((one for one in await masks.list_rules(connection) if one.id == number), None)
    if found is None:
        raise web.HTTPNotFound
    return found


async def _read(request: web.Request) -> tuple[MaskRule, str]:
    """The rule in the form, and what is wrong with it: the key of a text."""
    number, form = number_in(request), await request.post()
    known = await _find(request, number) if number else None
    enabled = bool(form.get("enabled"))
    if known is not None and known.preset:
        return replace(known, enabled=enabled), ""
    kind = MaskKind(kind) if (kind := _text(form, "kind", 20)) in [one.value for one in _CHOSEN] else MaskKind.WORDS
    text = _text(form, "text", LONGEST_TEXT)
    name = " ".join(_text(form, "name", LONGEST_NAME).split())
    rule = MaskRule(id=number, name=name, kind=kind, text=text, enabled=enabled)
    if not name:
        return rule, "mask_name_missing"
    return rule, await problem_of(rule)


async def problem_of(rule: MaskRule) -> str:
    """What keeps a rule from being one: the key of a text, empty where nothing does.

    Raises:
        PatternsUnavailable: its expression cannot be tried now.
    """
    lines = [one for one in rule.text.splitlines() if any(map(str.isalnum, one))]
    if not rule.text or (rule.kind is MaskKind.WORDS and not lines):
        return "mask_text_missing"
    if rule.kind is MaskKind.WORDS:
        return "mask_too_many" if len(lines) > _MOST_LINES else ""
    try:
        await patterns.check(rule.text)
    except Misconfigured:
        return "mask_pattern_wrong"
    return ""


def _form(request: web.Request, rule: MaskRule, *, problem: str = "", trial: Trial | None = None) -> web.Response:
    return page(
        request,
        "mask_rule.html",
        status=400 if problem else 200,
        rule=rule,
        kinds=[one.value for one in _CHOSEN],
        problem=problem,
        trial=trial,
    )


def _text(form: Form, name: str, longest: int) -> str:
    return str(form.get(name, "")).replace("\0", "").replace("\r\n", "\n").strip()[:longest]


# --- The company's own words ------------------------------------------------------------------------------------------


async def show_glossary(request: web.Request) -> web.StreamResponse:
    """The words there are, a line each."""
    async with services(request).store.begin() as connection:
        words = await glossary.find_glossary(connection)
    return page(request, "glossary.html", words=words, most=glossary.MOST_WORDS, saved="saved" in request.query)


async def save_glossary(request: web.Request) -> web.StreamResponse:
    """They count for calls that are transcribed from now on."""
    words = glossary.read_glossary(str((await request.post()).get("words", ""))[:LONGEST_TEXT])
    async with services(request).store.begin() as connection:
        await keep_glossary(request, connection, words)
    raise web.HTTPSeeOther("/glossary?saved=1")


async def keep_glossary(request: web.Request, connection: AsyncConnection, words: Sequence[str]) -> None:
    """The same for the API; the same words once more are no act."""
    if tuple(words) != await glossary.find_glossary(connection):
        await glossary.save_glossary(connection, words)
        await audit.add_entry(connection, account_of(request), audit.GLOSSARY_CHANGED, {"words": len(words)})
