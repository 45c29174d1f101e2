"""Logging in through OpenID Connect, against a small provider of our own that can lie."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from agent.archive.blobs import Archive
from agent.model import Identity, IdentityKind, UserRole
from agent.settings import WebSettings
from agent.settings_oidc import OidcSettings
from agent.store import accounts, employees, teams
from agent.store.accounts import Account
from agent.store.engine import Store
from agent.web import openid
from agent.web.app import WebServer
from agent.web.openid import Asked
from tests.oidc_provider import CLIENT, SECRET, OidcProvider
from tests.unit.web_pages import A, M, S, cut_out
from tests.web_world import PASSWORD, Browser, serve, settings_for


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[OidcProvider]:
    provider = OidcProvider()
    await provider.start()
    yield provider
    await provider.stop()


@pytest.fixture(scope="module")
async def server(
    provider: OidcProvider, store: Store, archive: Archive, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[WebServer]:
    oidc = OidcSettings(
        issuer=provider.issuer,
        client_id=CLIENT,
        client_secret=SecretStr(SECRET),
        roles={"sales": "manager", "heads": "supervisor", "it": "administrator"},
        teams={"north": "Север", "south": "Юг"},
    )
    settings = settings_for(tmp_path_factory.getbasetemp(), oidc=oidc, require_totp_for=("administrator",))
    server = await serve(store, archive, settings, cut_out)
    yield server
    await server.stop()


@pytest.fixture
async def browser(server: WebServer, provider: OidcProvider) -> AsyncIterator[Browser]:
    provider.lies, provider.algorithm = {}, "RS256"
    browser = Browser(server)
    yield browser
    await browser.close()


async def _begin(browser: Browser, target: str = "/live") -> str:
    async with browser.http.get("/login/oidc", params={"next": target}, allow_redirects=False) as answer:
        assert answer.status == 303
        return answer.headers["Location"]


async def _come_back(browser: Browser, query: str) -> str:
    async with browser.http.get(f"/login/oidc/back?{query}", allow_redirects=False) as answer:
        assert answer.status == 303
        return answer.headers["Location"]


async def _log_in(browser: Browser, provider: OidcProvider, **claims: Any) -> str:
    address = await _begin(browser)
    return await _come_back(browser, provider.log_in(address, **claims))


async def _account(store: Store, login: str) -> Account | None:
    async with store.begin() as connection:
        return await accounts.find_account(connection, login)


async def test_a_first_login_makes_an_account_with_role_employee_and_team(
    browser: Browser, provider: OidcProvider, store: Store
) -> None:
    async with store.begin() as connection:
        number = await employees.insert_employee(connection, "Вера")
        mine = Identity(kind=IdentityKind.ADDRESS, value="vera@example.com")
        await employees.insert_identity(connection, number, mine)
    claims: dict[str, Any] = {"sub": "1", "preferred_username": "Vera", "name": "Вера"}
    claims |= {"groups": ["sales", "north", "other"]}
    claims |= {"email": "Vera@example.com", "email_verified": True}
    assert "Войти через учётную запись компании" in (await browser.get("/login", **{"Accept-Language": "ru"}))[1]
    assert await _log_in(browser, provider, **claims) == "/live"
    assert (await browser.get("/cards"))[0] == 200
    assert (await browser.get("/accounts"))[0] == 403
    account = await _account(store, "vera")
    assert account is not None
    assert (account.role, account.employee_id, account.has_password, account.is_external) == (M, number, False, True)
    async with store.begin() as connection:
        found = {one.name: one for one in await teams.list_teams(connection)}
    assert [one.employee_id for one in found["Север"].members] == [number]
    assert found["Юг"].members == ()
    claims["groups"] = ["sales", "south"]
    assert await _log_in(browser, provider, **claims) == "/live"
    async with store.begin() as connection:
        found = {one.name: one for one in await teams.list_teams(connection)}
    assert [one.valid_to is None for one in found["Север"].members] == [False], "he has left it"
    assert [one.valid_to is None for one in found["Юг"].members] == [True]


async def test_groups_are_obeyed_at_each_login(browser: Browser, provider: OidcProvider, store: Store) -> None:
    person = {"sub": "2", "preferred_username": "oleg", "name": "Олег"}
    assert await _log_in(browser, provider, **person, groups=["heads", "sales", "north"]) == "/live"
    account = await _account(store, "oleg")
    assert account is not None
    assert (account.role, account.all_teams) == (S, False)
    async with store.begin() as connection:
        supervised = await teams.list_supervised(connection, account.id)
        names = [one.name for one in await teams.list_teams(connection) if one.id in supervised]
    assert names == ["Север"]
    assert await _log_in(browser, provider, **person, groups=["it"]) == "/live"
    assert (await browser.get("/accounts"))[0] == 200, "the provider asks for the second factor, not we"
    assert (
        await _log_in(browser, provider, **person, groups=["nothing of ours"]) == "/login?problem=login_other_unknown"
    )
    assert await _log_in(browser, provider, **person, groups=None) == "/login?problem=login_other_unknown"


async def test_a_name_with_a_password_is_not_taken_over(browser: Browser, provider: OidcProvider, store: Store) -> None:
    async with store.begin() as connection:
        await accounts.insert_account(connection, "root", "Начальник", PASSWORD, A)
        await accounts.insert_account(connection, "awaited", "Ждут", None, M)
    claims = {"sub": "3", "groups": ["sales"]}
    refused = "/login?problem=login_other_unknown"
    assert await _log_in(browser, provider, **claims, preferred_username="Root") == refused
    assert await _log_in(browser, provider, **claims, preferred_username="awaited") == "/live"
    assert await _log_in(browser, provider, sub="4", groups=["sales"], preferred_username="awaited") == refused
    assert await _log_in(browser, provider, **claims, preferred_username="renamed") == "/live", "the subject counts"
    assert await _account(store, "renamed") is None
    account = await _account(store, "awaited")
    assert account is not None
    async with store.begin() as connection:
        await accounts.disable_account(connection, account.id)
    assert await _log_in(browser, provider, **claims, preferred_username="awaited") == refused


@pytest.mark.parametrize(
    "lies",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another application"},
        {"aud": [CLIENT, "another"]},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"iat": int(time.time()) + 10_000_000},
        {"sub": None},
    ],
)
async def test_a_token_that_is_not_for_us_lets_nobody_in(
    browser: Browser, provider: OidcProvider, lies: dict[str, Any]
) -> None:
    provider.lies = lies
    assert await _log_in(browser, provider, sub="5", groups=["it"]) == "/login?problem=login_other_failed"
    assert (await browser.get("/cards"))[0] == 303


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_only_signatures_of_the_providers_keys_count(
    browser: Browser, provider: OidcProvider, algorithm: str
) -> None:
    provider.algorithm = algorithm
    assert await _log_in(browser, provider, sub="5", groups=["it"]) == "/login?problem=login_other_failed"


async def test_keys_may_change_and_unknown_ones_are_refused(
    browser: Browser, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = {"sub": "6", "preferred_username": "six", "groups": ["sales"]}
    assert await _log_in(browser, provider, **claims) == "/live"
    monkeypatch.setattr(openid, "_ASK_AGAIN_SECONDS", -1.0)
    provider.rotate()
    assert await _log_in(browser, provider, **claims) == "/live"
    provider.rotate(announced=False)
    assert await _log_in(browser, provider, **claims) == "/login?problem=login_other_failed"
    monkeypatch.setattr(openid, "_ASK_AGAIN_SECONDS", 1000.0)
    before = provider.asked_for_keys
    assert await _log_in(browser, provider, **claims) == "/login?problem=login_other_failed"
    assert provider.asked_for_keys == before, "unknown names of keys do not make us ask without end"
    monkeypatch.setattr(openid, "_ASK_AGAIN_SECONDS", -1.0)
    provider.rotate()
    assert await _log_in(browser, provider, **claims) == "/live"


async def test_an_answer_to_another_browser_is_refused(
    server: WebServer, browser: Browser, provider: OidcProvider
) -> None:
    failed = "/login?problem=login_other_failed"
    stolen = provider.log_in(await _begin(browser), sub="7", groups=["it"])
    victim = Browser(server)
    try:
        assert await _come_back(victim, stolen) == failed
        await _begin(victim)
        assert await _come_back(victim, stolen) == failed, "neither with a request of his own under way"
    finally:
        await victim.close()
    for query in ("", "error=access_denied", "code=x", "state=x", f"{stolen}x", "code=%00&state=%00"):
        assert await _come_back(browser, query) == failed, query
    assert await _come_back(browser, stolen) == "/live"
    assert await _come_back(browser, stolen) == failed, "a code counts once"


async def test_nobody_is_sent_elsewhere_afterwards(browser: Browser, provider: OidcProvider) -> None:
    for target in ("//evil.example", "https://evil.example", "/\\evil.example"):
        address = await _begin(browser, target)
        assert await _come_back(browser, provider.log_in(address, sub="8", groups=["sales"])) == "/"


async def test_a_provider_that_is_away_leaves_the_password(
    store: Store, archive: Archive, tmp_path_factory: pytest.TempPathFactory
) -> None:
    gone = OidcProvider()
    await gone.start()
    oidc = OidcSettings(issuer=gone.issuer, client_id=CLIENT, roles={"sales": "manager"})
    await gone.stop()
    server = await serve(store, archive, settings_for(tmp_path_factory.getbasetemp(), oidc=oidc), cut_out)
    browser = Browser(server)
    try:
        assert await _begin(browser) == "/login?problem=login_other_failed"
        async with store.begin() as connection:
            await accounts.insert_account(connection, "by-password", "Пароль", PASSWORD, M)
        assert await browser.log_in("by-password") == 303
    finally:
        await browser.close()
        await server.stop()


async def test_without_a_provider_there_is_no_such_login(
    store: Store, archive: Archive, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = await serve(store, archive, settings_for(tmp_path_factory.getbasetemp()), cut_out)
    browser = Browser(server)
    try:
        assert (await browser.get("/login/oidc"))[0] == 404
        assert (await browser.get("/login/oidc/back?code=x&state=y"))[0] == 404
        assert "/login/oidc" not in (await browser.get("/login"))[1]
    finally:
        await browser.close()
        await server.stop()


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "http://login.example.com"},
        {"client_id": ""},
        {"roles": {}},
        {"roles": {"x": "king"}},
        {"scopes": ("profile",)},
    ],
)
def test_settings_that_would_let_anybody_in_are_refused(wrong: dict[str, Any]) -> None:
    right = {"issuer": "https://login.example.com", "client_id": "x", "roles": {"x": "manager"}}
    assert WebSettings.model_validate({"oidc": right}).oidc.issuer
    with pytest.raises(ValidationError):
        WebSettings.model_validate({"oidc": {**right, **wrong}})


@pytest.mark.parametrize("text", ["", "x", "e30", "WzEsMiwzLDRd", "WyJhIl0", "////", "ÿ"])
def test_a_cookie_that_is_none_of_ours_is_nothing(text: str) -> None:
    assert Asked.from_cookie(text) is None


def test_roles_rank() -> None:
    assert [UserRole.ADMINISTRATOR, UserRole.SUPERVISOR, UserRole.MANAGER] == [A, S, M]
    asked = Asked.new("/live")
    assert Asked.from_cookie(asked.to_cookie()) == asked
