"""What is masked in the text of calls: rules listed, tried, changed, run over older transcripts; and the company's own
words."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from aiohttp import web
from pydantic import AfterValidator, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.store import glossary, masks
from agent.store.masks import MaskKind, MaskRule
from agent.store.runs import TRANSCRIPTS
from agent.transcribe.masks.remasking import Trial, try_rule
from agent.web import masking
from agent.web.api import shapes
from agent.web.api.answers import Json, Made, answer, begin, check_unchanged, perform
from agent.web.api.reading import Asked, Line, read_body, read_query
from agent.web.masking import LONGEST_NAME, LONGEST_TEXT
from agent.web.problems import Refused
from agent.web.services import number_in

_WRONG = {
    "mask_text_missing": "it does not say what to mask",
    "mask_too_many": "more than 500 lines: make several rules of them",
    "mask_pattern_wrong": "the expression has a mistake, finds everything, or may go on for ever",
}


def _lines(text: str) -> str:
    return text.replace("\0", "").replace("\r\n", "\n").strip()


def _word(text: str) -> str:
    if "," in text:
        raise ValueError("a comma parts words")
    return text


class Rule(Asked):
    """What to look for: words (``text`` has one a line), or an expression. ``cards`` is of the rule that comes with the
    program alone."""

    name: Annotated[Line, Field(max_length=LONGEST_NAME)]
    kind: Literal["cards", "pattern", "words"]
    text: Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(_lines)] = ""
    enabled: bool = True

    def plain(self, number: int) -> MaskRule:
        """As the store has it."""
        kind = MaskKind(self.kind)
        return MaskRule(id=number, name=self.name, kind=kind, text=self.text, enabled=self.enabled)


Word = Annotated[Line, Field(max_length=glossary.LONGEST_WORD), AfterValidator(_word)]


class Glossary(Asked):
    """The words, the most important first."""

    words: Annotated[list[Word], Field(max_length=glossary.MOST_WORDS)]


async def list_rules(request: web.Request) -> web.StreamResponse:
    """The oldest first, with how far the last run over older transcripts is."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await masks.list_rules(connection)
        run = await TRANSCRIPTS.find(connection)
    items = [_rule(one) for one in found]
    return await answer(request, {"items": items, "next": None, "run": shapes.run(run) if run is not None else None})


def _rule(one: MaskRule) -> Json:
    return {
        "id": one.id,
        "name": one.name,
        "kind": one.kind.value,
        "text": one.text,
        "preset": one.preset,
        "enabled": one.enabled,
    }


async def show_rule(request: web.Request) -> web.StreamResponse:
    """One of them."""
    read_query(request, Asked)
    async with begin(request) as connection:
        found = await _find(connection, number_in(request))
    return await answer(request, _rule(found))


async def _find(connection: AsyncConnection, number: int) -> MaskRule:
    found = next((one for one in await masks.list_rules(connection) if one.id == number), None)
    if found is None:
        raise Refused(404, "There is no such rule.")
    return found


async def _read(request: web.Request, number: int = 0) -> MaskRule:
    """The rule in the body.

    Raises:
        Refused: it is none (422). PatternsUnavailable: its expression cannot be tried now.
    """
    asked = (await read_body(request, Rule)).plain(number)
    if asked.kind is MaskKind.CARDS and not number:
        raise Refused(422, "A rule is of words or a pattern.", faults=[("/kind", "comes with the program alone")])
    if asked.kind is not MaskKind.CARDS and (problem := await masking.problem_of(asked)):
        raise Refused(422, "That is no rule.", faults=[("/text", _WRONG[problem])])
    return asked


async def add_rule(request: web.Request) -> web.StreamResponse:
    """It counts for what is transcribed from now on."""
    asked = await _read(request)

    async def act(connection: AsyncConnection) -> Made:
        number = await masking.keep_rule(request, connection, asked)
        return Made(content={"id": number}, location=f"{shapes.API}/mask-rules/{number}")

    return await perform(request, act)


async def change_rule(request: web.Request) -> web.StreamResponse:
    """The whole rule anew; under If-Match only what the caller has seen. One that comes with the program is switched on
    and off."""
    asked = await _read(request, number_in(request))
    async with begin(request) as connection:
        await masks.lock_rules(connection)
        known = await _find(connection, asked.id)
        check_unchanged(request, _rule(known))
        if known.preset:
            if replace(asked, preset=known.preset, enabled=known.enabled) != known:
                raise Refused(409, "It comes with the program. Only switch it on or off.")
            asked = replace(known, enabled=asked.enabled)
        elif asked.kind is MaskKind.CARDS:
            raise Refused(422, "That is no rule.", faults=[("/kind", "comes with the program alone")])
        await masking.keep_rule(request, connection, asked)
    return await answer(request, _rule(asked))


async def remove_rule(request: web.Request) -> web.StreamResponse:
    """One that was made here; what it has masked stays masked."""
    async with begin(request) as connection:
        found = await _find(connection, number_in(request))
        if found.preset:
            raise Refused(409, "It comes with the program. Switch it off.")
        await masking.forget_rule(request, connection, found.id)
    return web.Response(status=204)


async def try_one(request: web.Request) -> web.StreamResponse:
    """What it would mask in the newest transcripts; nothing is saved."""
    asked = await _read(request)
    async with begin(request) as connection:
        trial = await try_rule(connection, replace(asked, enabled=True))
    return await answer(request, _trial(trial))


def _trial(trial: Trial) -> Json:
    examples = [
        {
            "interaction_id": one.interaction_id,
            "second": one.second,
            "before": one.before,
            "found": one.found,
            "after": one.after,
        }
        for one in trial.examples
    ]
    return {
        "transcripts": trial.transcripts,
        "touched": trial.touched,
        "places": trial.places,
        "examples": examples,
    }


async def mask_older(request: web.Request) -> web.StreamResponse:
    """All transcripts are looked through by the rules as they stand; the list of rules tells how far that is."""

    async def act(connection: AsyncConnection) -> Made:
        run = await masking.mask_all(request, connection)
        return Made(content={"id": run.id}, location=f"{shapes.API}/mask-rules", status=202)

    return await perform(request, act)


# --- The company's own words ------------------------------------------------------------------------------------------


async def show_glossary(request: web.Request) -> web.StreamResponse:
    """The words that a speech model is told to expect."""
    read_query(request, Asked)
    async with begin(request) as connection:
        words = await glossary.find_glossary(connection)
    return await answer(request, {"words": list(words)})


async def save_glossary(request: web.Request) -> web.StreamResponse:
    """For what is transcribed from now on; under If-Match only in place of what the caller has seen."""
    asked = await read_body(request, Glossary)
    words = list(dict.fromkeys(asked.words))
    async with begin(request) as connection:
        await glossary.lock_glossary(connection)
        check_unchanged(request, {"words": list(await glossary.find_glossary(connection))})
        await masking.keep_glossary(request, connection, words)
    return await answer(request, {"words": words})
