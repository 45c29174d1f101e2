"""What connectors share, and that each says what it does; without any CRM."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import pytest
import typer
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from agent.commandline.crm_access import code_of
from agent.errors import Misconfigured
from linker.crm import registry
from linker.crm.amocrm.scorecard import SCORECARD as AMOCRM
from linker.crm.bitrix24.reading import spellings
from linker.crm.bitrix24.scorecard import APPLICATION, WEBHOOK
from linker.crm.bluesales.blocks import drop_block, find_block, put_block
from linker.crm.bluesales.scorecard import SCORECARD as BLUESALES
from linker.crm.onec.scorecard import SCORECARD as ONEC
from linker.crm.protocol import CrmAuthFailed, Scorecard
from linker.crm.shapes import as_list, as_object, id_of, last_digits, moment, money, whole, words
from linker.crm.tokens import Grant, Tokens
from linker.crm.wording import Told, clock
from tests.peer.crm_lab import MemoryVault, crm_settings, whole_settings

_DOCS = Path(__file__).parents[2] / "docs" / "crm"
_KEY = "cardline-0123456789abcdef0123"


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("bitrix24", APPLICATION),
        ("bitrix24", WEBHOOK),
        ("amocrm", AMOCRM),
        ("onec", ONEC),
        ("bluesales", BLUESALES),
    ],
)
def test_the_page_of_a_connector_names_all_that_it_lacks(name: str, card: Scorecard) -> None:
    page = (_DOCS / f"{name}.md").read_text()
    assert [one.value for one in card.lacks if f"`{one.value}`" not in page] == []


@pytest.mark.parametrize("kind", ["amocrm", "bitrix24", "bluesales", "onec"])
async def test_each_kind_connects_without_asking_anybody(kind: str) -> None:
    settings = crm_settings(kind, "https://crm.example.com", user="u", password="p", key="k")
    crm = registry.connect(settings, whole_settings(), MemoryVault())
    assert crm.scorecard.does
    await crm.close()


@pytest.mark.parametrize("kind", ["amocrm", "bitrix24", "bluesales", "onec"])
@pytest.mark.parametrize("value", ["0", "-1", "many", "nan"])
def test_a_pace_that_is_none_is_refused(kind: str, value: str) -> None:
    options = {"requests_a_second": value}
    settings = crm_settings(kind, "https://crm.example.com", user="u", password="p", key="k", options=options)
    with pytest.raises(Misconfigured, match="requests_a_second"):
        registry.connect(settings, whole_settings(), MemoryVault())


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_whatever_a_crm_answers_nothing_of_it_breaks(value: object) -> None:
    assert isinstance(as_object(value), dict)
    assert isinstance(as_list(value), list)
    assert "\n" not in words(value)
    assert isinstance(whole(value), int)
    assert id_of(value) != "0"
    assert (found := moment(value)) is None or found.tzinfo is not None
    assert (amount := money(value)) is None or amount.is_finite()


def test_amounts_and_numbers() -> None:
    assert money("1200.50") == Decimal("1200.50")
    assert money("NaN") is None
    assert last_digits("8 (495) 000-00-01") == "4950000001"
    assert last_digits("101") == ""
    assert spellings("+74950000001") == ["+74950000001", "74950000001", "84950000001", "4950000001"]
    assert (clock(65), clock(3605)) == ("1:05", "1:00:05")


_LINES = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=40)


@given(_LINES, _LINES, st.lists(_LINES, max_size=3))
def test_parts_of_a_text_are_read_again_as_they_were_written(head: str, link: str, said: list[str]) -> None:
    transcript = "\n".join(f"00:0{place} Анна: {line}" for place, line in enumerate(said))
    told = Told(head=f"Звонок {head}", recording=f"https://x/{link.strip()}".strip(), transcript=transcript)
    assert Told.read(told.text()) == told
    assert Told.read(told.with_head("другое").text()).transcript == transcript


@given(st.text(max_size=200), st.text(max_size=200))
def test_a_block_never_touches_what_people_wrote(before: str, text: str) -> None:
    plain = before.replace("\r\n", "\n").replace("\r", "\n")
    comment = put_block(before, _KEY, text)
    assert find_block(comment, _KEY) is not None
    assert drop_block(comment, _KEY).rstrip("\n") == plain.rstrip("\n")


async def test_a_token_is_renewed_before_its_end_and_saved_before_it_is_used() -> None:
    vault, asked = MemoryVault({"refresh_token": "r0"}), []

    async def renew(refresh: str) -> Grant:
        asked.append(refresh)
        return Grant(access=f"a{len(asked)}", refresh=f"r{len(asked)}", seconds=100)  # less than we renew early

    tokens = Tokens("office", vault, renew)
    assert [await tokens.access(), await tokens.access()] == ["a1", "a2"]
    assert asked == ["r0", "r1"]
    assert vault.kept["refresh_token"] == "r2"
    assert float(vault.kept["until"]) > time.time()


async def test_a_login_that_was_withdrawn_names_the_command() -> None:
    async def renew(refresh: str) -> Grant:
        raise CrmAuthFailed("no")

    with pytest.raises(CrmAuthFailed, match="cardline crm login office"):
        await Tokens("office", MemoryVault({"refresh_token": "r0"}), renew).access()


async def test_who_is_refused_as_another_process_renews_takes_what_that_got() -> None:
    vault = MemoryVault({"refresh_token": "r0"})

    async def renew(refresh: str) -> Grant:
        await vault.save(Grant(access="theirs", refresh="r1", seconds=3600).kept())
        raise CrmAuthFailed("r0 was spent a moment ago")

    assert await Tokens("office", vault, renew).access() == "theirs"


async def test_a_key_is_never_carried_to_where_a_redirect_leads() -> None:
    asked: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.headers.get("Authorization", ""))
        return web.json_response({})

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"http://localhost:{other.port}/{request.path}")

    other, first = TestServer(_app(elsewhere), host="127.0.0.1"), TestServer(_app(redirect), host="127.0.0.1")
    await other.start_server()
    await first.start_server()
    crm = registry.connect(crm_settings("amocrm", str(first.make_url("/")), key="k"), whole_settings(), MemoryVault())
    try:
        with pytest.raises(CrmAuthFailed, match="own address"):
            await crm.list_users()
        assert asked == []
    finally:
        await crm.close()
        await first.close()
        await other.close()


def _app(handler: Callable[[web.Request], Awaitable[web.Response]]) -> web.Application:
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", handler)
    return application


def test_a_code_is_taken_from_an_address_or_alone() -> None:
    assert code_of(" https://cardline.example.com/?code=abc&state=1 ") == "abc"
    assert code_of("abc") == "abc"
    with pytest.raises(typer.Exit):
        code_of("https://cardline.example.com/?error=access_denied")
