"""Who gets where over HTTP: rights on every route, login, sessions, the tokens of forms."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import delete, select, update

from agent.archive.blobs import Archive
from agent.store import accounts, teams
from agent.store.engine import Store
from agent.store.schema import account, login_attempt, login_session
from agent.web.app import WebServer
from agent.web.routes import TABLE
from tests.unit.web_pages import (
    A,
    M,
    S,
    cut_out,
    guest,
    people,
    server,
    world,
)
from tests.web_world import PASSWORD, Browser, World, serve, settings_for

__all__ = ["guest", "people", "server", "world"]

# Written a second time by hand: a route that is added or widened must be added or widened here too.
ROLES = {
    ("GET", "/healthz"): "public",
    ("GET", "/metrics"): "public",
    ("GET", "/static/{digest}/{name}"): "public",
    ("GET", "/login"): "public",
    ("POST", "/login"): "public",
    ("GET", "/language/{language}"): "public",
    ("GET", "/theme/{theme}"): "public",
    ("GET", "/shared/{token}.mp3"): "public",
    ("HEAD", "/shared/{token}.mp3"): "public",
    ("GET", "/hooks/{name}"): "public",
    ("POST", "/hooks/{name}"): "public",
    ("GET", "/hooks/{name}/{tail}"): "public",
    ("POST", "/hooks/{name}/{tail}"): "public",
    ("GET", "/login/code"): "public",
    ("POST", "/login/code"): "public",
    ("GET", "/login/second-factor"): "public",
    ("POST", "/login/second-factor"): "public",
    ("GET", "/login/oidc"): "public",
    ("GET", "/login/oidc/back"): "public",
    ("GET", "/invitation/{token}"): "public",
    ("POST", "/invitation/{token}"): "public",
    ("GET", "/me"): {A, S, M},
    ("POST", "/me/password"): {A, S, M},
    ("POST", "/me/second-factor"): {A, S, M},
    ("POST", "/me/second-factor/confirm"): {A, S, M},
    ("POST", "/me/second-factor/remove"): {A, S, M},
    ("POST", "/me/second-factor/codes"): {A, S, M},
    ("POST", "/me/logins/end"): {A, S, M},
    ("GET", "/settings"): {A, S},
    ("POST", "/settings/guide/skip"): {A},
    ("GET", "/accounts"): {A},
    ("POST", "/accounts"): {A},
    ("GET", "/accounts/{id}"): {A},
    ("POST", "/accounts/{id}"): {A},
    ("POST", "/accounts/{id}/invite"): {A},
    ("POST", "/accounts/{id}/disable"): {A},
    ("POST", "/accounts/{id}/second-factor/reset"): {A},
    ("POST", "/accounts/{id}/logins/end"): {A},
    ("GET", "/teams"): {A},
    ("POST", "/teams"): {A},
    ("POST", "/teams/{id}/name"): {A},
    ("POST", "/teams/{id}/remove"): {A},
    ("POST", "/teams/{id}/members"): {A},
    ("POST", "/team-members/{id}/end"): {A},
    ("POST", "/team-members/{id}/remove"): {A},
    ("GET", "/tokens"): {A},
    ("POST", "/tokens"): {A},
    ("POST", "/tokens/{id}/revoke"): {A},
    ("GET", "/audit"): {A},
    ("GET", "/audit.csv"): {A},
    ("GET", "/keys"): {A},
    ("GET", "/masks"): {A},
    ("POST", "/masks/run"): {A},
    ("GET", "/masks/{id}"): {A},
    ("POST", "/masks/{id}"): {A},
    ("POST", "/masks/{id}/try"): {A},
    ("POST", "/masks/{id}/remove"): {A},
    ("GET", "/glossary"): {A},
    ("POST", "/glossary"): {A},
    ("GET", "/retention"): {A},
    ("POST", "/retention"): {A},
    ("POST", "/holds"): {A},
    ("POST", "/holds/{id}/release"): {A},
    ("POST", "/logout"): {A, S, M},
    ("GET", "/"): {A, S, M},
    ("GET", "/find"): {A, S, M},
    ("POST", "/find/saved"): {A, S, M},
    ("POST", "/find/saved/{id}/remove"): {A, S, M},
    ("GET", "/cards"): {A, S, M},
    ("GET", "/cards/{id}"): {A, S, M},
    ("GET", "/interactions/{id}"): {A, S, M},
    ("GET", "/interactions/{id}/html"): {A, S, M},
    ("GET", "/recordings/{id}"): {A, S, M},
    ("HEAD", "/recordings/{id}"): {A, S, M},
    ("GET", "/recordings/{id}/peaks"): {A, S, M},
    ("GET", "/recordings/{id}/words"): {A, S, M},
    ("GET", "/recordings/{id}/said"): {A, S, M},
    ("POST", "/interactions/{id}/comments"): {A, S, M},
    ("POST", "/comments/{id}/remove"): {A, S, M},
    ("POST", "/utterances/{id}"): {A, S, M},
    ("GET", "/attachments/{id}"): {A, S, M},
    ("GET", "/attachments/{id}/view"): {A, S, M},
    ("GET", "/attachments/{id}/picture"): {A, S, M},
    ("GET", "/evidence/{id}/source"): {A, S, M},
    ("GET", "/evidence/{id}/original"): {A, S, M},
    ("GET", "/unsorted"): {A, S, M},
    ("POST", "/unsorted/card"): {A, S, M},
    ("POST", "/unsorted/contact-point"): {A, S, M},
    ("POST", "/unsorted/decision"): {A, S, M},
    ("POST", "/unsorted/aside"): {A, S, M},
    ("POST", "/unsorted/near"): {A, S},
    ("POST", "/unsorted/unreadable"): {A, S},
    ("POST", "/unsorted/delivery"): {A, S},
    ("POST", "/unsorted/job"): {A},
    ("POST", "/cards"): {A, S, M},
    ("POST", "/cards/{id}"): {A, S, M},
    ("POST", "/cards/{id}/contact-points"): {A, S, M},
    ("POST", "/cards/{id}/contact-points/remove"): {A, S, M},
    ("POST", "/cards/{id}/proposals"): {A, S, M},
    ("POST", "/cards/{id}/notes"): {A, S, M},
    ("POST", "/cards/{id}/notes/remove"): {A, S, M},
    ("POST", "/cards/{id}/tasks"): {A, S, M},
    ("GET", "/tasks"): {A, S, M},
    ("POST", "/tasks/{id}"): {A, S, M},
    ("POST", "/tasks/{id}/done"): {A, S, M},
    ("POST", "/tasks/{id}/open"): {A, S, M},
    ("GET", "/cards/suggested"): {A, S, M},
    ("GET", "/private"): {A, S, M},
    ("POST", "/interactions/{id}/private"): {A, S, M},
    ("POST", "/interactions/{id}/public"): {A, S, M},
    ("POST", "/interactions/{id}/not-client"): {A, S, M},
    ("POST", "/cards/{id}/merge"): {A, S},
    ("POST", "/cards/{id}/split"): {A, S},
    ("POST", "/cards/{id}/distinct"): {A, S},
    ("POST", "/merges/{id}/undo"): {A, S},
    ("GET", "/duplicates"): {A, S},
    ("GET", "/cards/import"): {A, S},
    ("POST", "/cards/import"): {A, S},
    ("GET", "/cards/import/{id}"): {A, S},
    ("POST", "/cards/import/{id}"): {A, S},
    ("POST", "/cards/import/{id}/apply"): {A, S},
    ("GET", "/cards/export.csv"): {A, S},
    ("GET", "/decisions"): {A, S},
    ("POST", "/decisions"): {A, S},
    ("POST", "/decisions/{id}/revoke"): {A, S},
    ("POST", "/line-policies"): {A},
    ("POST", "/line-policies/{id}/remove"): {A},
    ("POST", "/interactions/{id}/card"): {A, S, M},
    ("GET", "/live"): {A, S, M},
    ("GET", "/events"): {A, S, M},
    ("GET", "/calls/{id}/listen"): {A, S, M},
    ("GET", "/api"): {A, S, M},
    ("GET", "/sources"): {A, S},
    ("GET", "/crm"): {A, S},
    ("POST", "/crm/retry"): {A, S},
    ("POST", "/crm/drop"): {A, S},
    ("POST", "/crm/{id}/users"): {A},
    ("GET", "/employees"): {A},
    ("POST", "/employees"): {A},
    ("POST", "/employees/{id}/identities"): {A},
    ("POST", "/employees/{id}/name"): {A},
    ("POST", "/identities/{id}/end"): {A},
    ("POST", "/identities/{id}/remove"): {A},
    ("POST", "/extensions"): {A},
    ("POST", "/extensions/list"): {A},
    ("POST", "/carried-corrections/{id}"): {A, S, M},
    ("POST", "/recordings/{id}/transcribe"): {A, S},
    ("POST", "/transcripts/{id}/show"): {A, S},
    ("GET", "/mail-rules"): {A},
    ("POST", "/mail-rules/resort"): {A},
    ("GET", "/mail-rules/{id}"): {A},
    ("POST", "/mail-rules/{id}"): {A},
    ("POST", "/mail-rules/{id}/try"): {A},
    ("POST", "/mail-rules/{id}/move"): {A},
    ("POST", "/mail-rules/{id}/remove"): {A},
    ("POST", "/mail-domains"): {A},
    ("POST", "/mail-domains/{id}/remove"): {A},
    ("POST", "/interactions/{id}/meeting"): {A, S, M},
    ("POST", "/evidence/{id}/separate"): {A, S},
    ("POST", "/interactions/{id}/unite"): {A, S},
    ("POST", "/interactions/{id}/credit"): {A, S},
}


# What is the whole company's: a supervisor of some teams may not call it, whatever his role says above.
WHOLE = {
    ("GET", "/duplicates"),
    ("GET", "/cards/import"),
    ("POST", "/cards/import"),
    ("GET", "/cards/import/{id}"),
    ("POST", "/cards/import/{id}"),
    ("POST", "/cards/import/{id}/apply"),
    ("GET", "/cards/export.csv"),
    ("GET", "/decisions"),
    ("POST", "/decisions"),
    ("POST", "/decisions/{id}/revoke"),
    ("POST", "/unsorted/unreadable"),
    ("POST", "/unsorted/delivery"),
    ("GET", "/sources"),
    ("GET", "/crm"),
    ("POST", "/crm/retry"),
    ("POST", "/crm/drop"),
}


def plain(path: str) -> str:
    """The path without the expressions of its places."""
    return re.sub(r"\{(\w+):[^/]*\}", r"{\1}", path)


def test_the_table_of_routes_is_the_one_written_here() -> None:
    """What lies below /api/v1 is in `tests.unit.api_roles`, and nothing else takes the token of a program."""
    pages = [one for one in TABLE if not one.path.startswith("/api/v1/")]
    assert {(one.method, plain(one.path)): "public" if one.roles is None else set(one.roles) for one in pages} == ROLES
    assert {(one.method, plain(one.path)) for one in pages if one.whole} == WHOLE
    assert [one.path for one in pages if one.scope] == []


@pytest.fixture
async def lida(server: WebServer, world: World, store: Store) -> AsyncIterator[Browser]:
    """She leads a team in which nobody is."""
    async with store.begin() as connection:
        number = await accounts.insert_account(connection, "lida", "Лида", PASSWORD, S, all_teams=False)
        await teams.set_supervised(connection, number, [await teams.find_or_insert_team(connection, "Пустая")])
    browser = Browser(server)
    assert await browser.log_in("lida") == 303
    yield browser
    await browser.close()


async def test_every_route_refuses_whoever_is_not_in_its_roles(people: dict[str, Browser], lida: Browser) -> None:
    everybody = {**people, "lida": lida}
    for (method, path), roles in ROLES.items():
        if path == "/logout":
            continue
        target = (
            path.replace("{id}", "999999")
            .replace("{digest}", "0")
            .replace("{name}", "x")
            .replace("{language}", "en")
            .replace("{theme}", "dark")
        )
        who = (("admin", A), ("boss", S), ("lida", S), ("anna", M), ("nobody", M), ("stranger", None))
        for name, role in who:
            form = {"csrf": await everybody[name].token()} if method == "POST" and role else None
            async with everybody[name].http.request(method, target, data=form, allow_redirects=False) as answer:
                status, place = answer.status, answer.headers.get("Location", "")
            what = f"{method} {target} as {name}: {status}"
            if roles == "public":
                assert status in (200, 303, 400, 404), what
            elif role is None:
                assert (status == 303 and place.startswith("/login?next=")) or status == 401, what
            elif role in roles and not (name == "lida" and (method, path) in WHOLE):
                assert status in (200, 303, 400, 404), what
            else:
                assert status == 403, what


async def test_what_is_not_in_the_table_does_not_exist(people: dict[str, Browser]) -> None:
    for method, path in (("GET", "/admin"), ("PUT", "/cards"), ("DELETE", "/cards/1"), ("HEAD", "/cards")):
        async with people["admin"].http.request(method, path) as answer:
            assert answer.status in (404, 405)


async def test_a_manager_meets_nothing_that_is_not_his(people: dict[str, Browser], world: World) -> None:
    ivans = [
        f"/cards/{world.camomile}",
        f"/interactions/{world.camomiles_call}",
        f"/interactions/{world.camomiles_mail}",
        f"/interactions/{world.camomiles_mail}/html",
        f"/recordings/{world.camomiles_recording}",
        f"/attachments/{world.camomiles_attachment}",
        f"/evidence/{world.camomiles_evidence}/original",
    ]
    annas = [
        f"/cards/{world.maria}",
        f"/interactions/{world.marias_call}",
        f"/recordings/{world.marias_recording}",
        f"/interactions/{world.strangers_call}",
    ]
    for name, own, foreign in (("anna", annas, ivans), ("ivan", ivans, annas), ("nobody", [], annas + ivans)):
        for path in own:
            assert (await people[name].get(path))[0] == 200, f"{path} as {name}"
        for path in foreign:
            assert (await people[name].get(path))[0] == 404, f"{path} as {name}"
    for path in annas + ivans:
        assert (await people["boss"].get(path))[0] == 200, path


async def test_lists_show_a_manager_only_his_own(people: dict[str, Browser]) -> None:
    _, annas = await people["anna"].get("/cards")
    assert "Мария Смирнова" in annas
    assert "Ромашка" not in annas
    _, ivans = await people["ivan"].get("/cards")
    assert "Ромашка" in ivans
    assert "Мария Смирнова" not in ivans
    _, everything = await people["boss"].get("/cards")
    assert "Ромашка" in everything
    assert "Мария Смирнова" in everything
    assert "495 000-00-33" not in (await people["ivan"].get("/unsorted"))[1]
    assert "495 000-00-33" in (await people["anna"].get("/unsorted"))[1]
    assert "no header could be read" not in (await people["anna"].get("/unsorted"))[1]
    assert "no header could be read" in (await people["boss"].get("/unsorted"))[1]


async def test_unreadable_originals_are_for_supervisors(people: dict[str, Browser], world: World) -> None:
    path = f"/evidence/{world.unreadable_evidence}/original"
    assert (await people["boss"].get(path))[0] == 200
    assert (await people["anna"].get(path))[0] == 404


# --- Login ------------------------------------------------------------------------------------------------------------


async def test_wrong_names_and_passwords_are_told_alike(guest: Browser) -> None:
    answers = []
    for login, password in (("anna", "wrong password"), ("no such name", PASSWORD), ("", "")):
        form = {"login": login, "password": password, "csrf": await guest.token("/login")}
        async with guest.http.post("/login", data=form) as answer:
            text = re.sub(r'(value|content)="[^"]*"', "", await answer.text())
            answers.append((answer.status, text))
    assert answers[0][0] == 403
    assert len({status for status, _ in answers}) == 1
    assert answers[0][1].replace(" autofocus", "") == answers[1][1].replace(" autofocus", "")
    assert (await guest.get("/cards"))[0] == 303


async def test_the_login_form_wants_its_token(guest: Browser) -> None:
    async with guest.http.post("/login", data={"login": "anna", "password": PASSWORD, "csrf": "x"}) as answer:
        assert answer.status == 400
    assert (await guest.get("/cards"))[0] == 303


async def test_guessing_is_stopped_but_the_right_password_counts_from_elsewhere(
    server: WebServer, guest: Browser, store: Store
) -> None:
    async with store.begin() as connection:
        await connection.execute(delete(login_attempt))
    statuses = [await guest.log_in("boss", f"guess number {number}") for number in range(9)]
    assert statuses[:8] == [403] * 8
    assert statuses[8] == 429
    assert await guest.log_in("boss") == 429
    guest.http.headers["X-Forwarded-For"] = "192.0.2.77"
    assert await guest.log_in("boss") == 303


async def test_the_token_is_kept_as_a_digest_and_dies_with_the_logout(guest: Browser, store: Store) -> None:
    assert await guest.log_in("anna") == 303
    (cookie,) = [one for one in guest.http.cookie_jar if one.key == "cardline_session"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    async with store.begin() as connection:
        digests = set((await connection.execute(select(login_session.c.token_hash))).scalars())
    assert hashlib.sha256(cookie.value.encode()).digest() in digests
    assert await guest.post("/logout") == 303
    guest.http.cookie_jar.update_cookies({"cardline_session": cookie.value}, guest.base)
    assert (await guest.get("/cards"))[0] == 303


async def test_a_form_without_the_right_token_changes_nothing(people: dict[str, Browser]) -> None:
    for token in ("", "wrong", "я"):
        assert await people["admin"].post("/employees", name="Ложный Сотрудник", csrf=token) == 403
    assert "Ложный Сотрудник" not in (await people["admin"].get("/employees"))[1]


async def test_a_disabled_account_is_out_at_once(server: WebServer, store: Store, guest: Browser) -> None:
    async with store.begin() as connection:
        number = await accounts.insert_account(connection, "Temp ", "Временный", PASSWORD, M)
    assert await guest.log_in("TEMP") == 303
    assert (await guest.get("/cards"))[0] == 200
    async with store.begin() as connection:
        await connection.execute(update(account).where(account.c.id == number).values(disabled=True))
    assert (await guest.get("/cards"))[0] == 303, "an open login of a disabled account is worth nothing"
    async with store.begin() as connection:
        await accounts.disable_account(connection, number, disabled=False)
    assert (await guest.get("/cards"))[0] == 200
    async with store.begin() as connection:
        await accounts.disable_account(connection, number)
        await accounts.disable_account(connection, number, disabled=False)
    assert (await guest.get("/cards"))[0] == 303, "disabling closes what was open"
    async with store.begin() as connection:
        await accounts.disable_account(connection, number)
    assert await guest.log_in("temp") == 403


async def test_over_https_the_cookie_is_bound_to_the_host(
    store: Store, archive: Archive, world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = settings_for(tmp_path_factory.getbasetemp(), public_url="https://cardline.example.com")
    server = await serve(store, archive, settings, cut_out)
    browser = Browser(server)
    try:
        async with browser.http.get("/login") as answer:
            token = (await answer.text()).partition('name="csrf" value="')[2].partition('"')[0]
            form_cookie = answer.cookies["cardline_form"]
            assert form_cookie["secure"]
            assert "Strict-Transport-Security" in answer.headers
        form = {"login": "anna", "password": PASSWORD, "csrf": token}
        headers = {"Cookie": f"cardline_form={form_cookie.value}"}
        async with browser.http.post("/login", data=form, headers=headers, allow_redirects=False) as answer:
            assert answer.status == 303
            session = answer.cookies["__Host-cardline_session"]
            assert session["secure"]
            assert session["path"] == "/"
    finally:
        await browser.close()
        await server.stop()


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "/\tx", "", "/login"])
async def test_after_the_login_nobody_is_sent_elsewhere(guest: Browser, target: str) -> None:
    form = {"login": "anna", "password": PASSWORD, "csrf": await guest.token("/login"), "next": target}
    async with guest.http.post("/login", data=form, allow_redirects=False) as answer:
        assert answer.headers["Location"] == "/"
