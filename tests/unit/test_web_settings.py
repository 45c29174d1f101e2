"""The pages of settings: what administrators do there, what they are told, and that nothing of it can be abused."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from agent.archive.blobs import Archive
from agent.archive.retention import Retention
from agent.model import InteractionKind
from agent.settings import MailboxSettings, Settings
from agent.store import accounts, audit, auditlog, companysettings, hosts, interactions, retention, teams, tokens
from agent.store.auditlog import AuditFilter
from agent.store.engine import Store
from agent.store.schema import audit_entry, host, interaction, party
from agent.store.sources import SourceStatus
from agent.web.app import WebServer
from agent.web.auditlog import in_words, place_of
from agent.web.sources import group
from tests.unit.web_pages import HOSTILE, A, M, S, Tags, cut_out, people, server, world
from tests.web_world import NOW, PASSWORD, Browser, World, serve, settings_for

__all__ = ["people", "server", "world"]

PLACES = ("/settings", "/accounts", "/teams", "/tokens", "/audit", "/keys", "/retention", "/me", "/sources")


async def _account(store: Store, login: str) -> accounts.Account:
    async with store.begin() as connection:
        found = await accounts.find_account(connection, login)
    assert found is not None
    return found


async def _acts(store: Store) -> list[str]:
    async with store.begin() as connection:
        return [one.action for one in await auditlog.list_entries(connection, AuditFilter())]


async def _answer(browser: Browser, path: str, **form: str | list[str]) -> tuple[int, str, str]:
    pairs = [("csrf", await browser.token("/me"))]
    for name, value in form.items():
        pairs += [(name, one) for one in ([value] if isinstance(value, str) else value)]
    async with browser.http.post(path, data=pairs, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location", ""), await answer.text()


# --- Accounts ---------------------------------------------------------------------------------------------------------


async def test_an_account_is_made_and_its_owner_chooses_a_password(
    people: dict[str, Browser], server: WebServer, store: Store, world: World
) -> None:
    form = {"login": " New@Example.com ", "name": "Новый", "role": "manager", "employee": str(world.ivan)}
    status, _, text = await _answer(people["admin"], "/accounts", **form)
    assert status == 200
    (link,) = re.findall(r'<code class="secret">(http[^<]+)</code>', text)
    assert link.startswith(str(people["admin"].base))
    account = await _account(store, "new@example.com")
    assert (account.role, account.employee_id, account.has_password) == (M, world.ivan, False)
    assert link not in (await people["admin"].get(f"/accounts/{account.id}"))[1], "shown once"
    guest = Browser(server)
    try:
        chosen = {"wanted": "my own password", "again": "my own password"}
        async with guest.http.post(link, data=chosen, allow_redirects=False) as answer:
            assert answer.status == 303
        assert await guest.log_in("new@example.com", "my own password") == 303
        assert (await guest.get(f"/cards/{world.camomile}"))[0] == 200
        status, place, _ = await _answer(people["admin"], f"/accounts/{account.id}", name="Новый", role="manager")
        assert place.endswith("done=account_changed")
        assert (await guest.get("/cards"))[0] == 303, "no old right lives on"
        assert await guest.log_in("new@example.com", "my own password") == 303
        assert (await guest.get(f"/cards/{world.camomile}"))[0] == 404, "he is nobody's employee now"
        await _answer(people["admin"], f"/accounts/{account.id}/logins/end")
        assert (await guest.get("/cards"))[0] == 303
        await _answer(people["admin"], f"/accounts/{account.id}/disable", disabled="yes")
        assert await guest.log_in("new@example.com", "my own password") == 403
        await _answer(people["admin"], f"/accounts/{account.id}/disable", disabled="no")
        assert await guest.log_in("new@example.com", "my own password") == 303
    finally:
        await guest.close()
    found = await _acts(store)
    expected = {"account_added", "account_invited", "password_chosen", "account_changed", "logins_ended"}
    assert {*expected, "account_disabled", "account_enabled"} <= set(found)


async def test_a_login_that_is_taken_or_empty_is_refused(people: dict[str, Browser]) -> None:
    for login in ("ANNA", "  "):
        assert (await _answer(people["admin"], "/accounts", login=login, name="x", role="manager"))[0] == 400
    for more in ({"role": "king"}, {"role": "manager", "employee": "x"}):
        assert (await _answer(people["admin"], "/accounts", login="y", name="x", **more))[0] == 400
    assert (await _answer(people["admin"], "/accounts", login="y", role="manager", employee="999999"))[0] == 404


async def test_the_last_administrator_stays(people: dict[str, Browser], store: Store) -> None:
    admin = await _account(store, "admin")
    for path, form in (("", {"name": "x", "role": "manager"}), ("/disable", {"disabled": "yes"})):
        _, place, _ = await _answer(people["admin"], f"/accounts/{admin.id}{path}", **form)
        assert place.endswith("problem=last_admin")
    assert (await people["admin"].get("/accounts"))[0] == 200
    async with store.begin() as connection:
        second = await accounts.insert_account(connection, "second", "Вторая", PASSWORD, A)
        assert await accounts.disable_account(connection, admin.id)
        assert not await accounts.disable_account(connection, second)
        await accounts.disable_account(connection, admin.id, disabled=False)
        assert await accounts.disable_account(connection, second)
    assert await people["admin"].log_in("admin") == 303


async def test_a_supervisor_gets_the_teams_that_are_marked(people: dict[str, Browser], store: Store) -> None:
    assert (await _answer(people["admin"], "/teams", name="Опт"))[0] == 303
    assert (await _answer(people["admin"], "/teams", name="Опт"))[0] == 400
    assert (await _answer(people["admin"], "/teams", name=" "))[0] == 400
    async with store.begin() as connection:
        team_id = await teams.find_or_insert_team(connection, "Опт")
        number = await accounts.insert_account(connection, "chief", "Начальник опта", PASSWORD, S)
    form: dict[str, str | list[str]] = {"name": "Начальник", "role": "supervisor", "sees": "teams"}
    await _answer(people["admin"], f"/accounts/{number}", **form, team=[str(team_id), "999999", "x"])
    assert not (await _account(store, "chief")).all_teams
    async with store.begin() as connection:
        assert await teams.list_supervised(connection, number) == {team_id}
    assert "Начальник" in (await people["admin"].get("/teams"))[1]
    await _answer(people["admin"], f"/accounts/{number}", **{**form, "sees": "all"}, team=[str(team_id)])
    assert (await _account(store, "chief")).all_teams
    async with store.begin() as connection:
        assert await teams.list_supervised(connection, number) == set()


async def test_members_come_and_go(people: dict[str, Browser], store: Store, world: World) -> None:
    admin = people["admin"]
    async with store.begin() as connection:
        team_id = await teams.find_or_insert_team(connection, "Розница")
    path = f"/teams/{team_id}/members"
    assert (await _answer(admin, path, employee="x"))[0] == 400
    assert (await _answer(admin, path, employee="999999"))[0] == 404
    assert (await _answer(admin, path, employee=str(world.ivan), valid_from="1.1.26"))[0] == 400
    assert (await _answer(admin, path, employee=str(world.ivan), valid_from="2026-01-10"))[0] == 303
    assert (await _answer(admin, path, employee=str(world.ivan)))[0] == 400
    async with store.begin() as connection:
        (member,) = next(one for one in await teams.list_teams(connection) if one.id == team_id).members
    assert (await _answer(admin, f"/team-members/{member.id}/end", valid_to="2026-01-09"))[0] == 400
    assert (await _answer(admin, f"/team-members/{member.id}/end", valid_to="2026-02-01"))[0] == 303
    assert (await _answer(admin, f"/team-members/{member.id}/remove"))[0] == 303
    assert (await _answer(admin, f"/team-members/{member.id}/remove"))[0] == 404
    assert (await _answer(admin, f"/teams/{team_id}/name", name="Розница и опт"))[0] == 303
    assert (await _answer(admin, f"/teams/{team_id}/name", name="Опт"))[0] == 400
    assert (await _answer(admin, f"/teams/{team_id}/remove"))[0] == 303
    assert (await _answer(admin, f"/teams/{team_id}/remove"))[0] == 404


# --- Tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_is_shown_once_and_revoked_for_good(people: dict[str, Browser], store: Store) -> None:
    admin, anna = people["admin"], await _account(store, "anna")
    form: dict[str, str | list[str]] = {"name": "CRM", "scope": ["read", "listen"], "account": str(anna.id)}
    _, _, text = await _answer(admin, "/tokens", **form)
    (made,) = re.findall(r'<code class="secret">(cardline_[^<]+)</code>', text)
    assert made not in (await admin.get("/tokens"))[1]
    async with store.begin() as connection:
        found = await tokens.find_token(connection, made)
    assert found is not None
    assert (found.scopes, found.viewer.employee_id) == (frozenset({"read", "listen"}), anna.employee_id)
    assert (await _answer(admin, "/tokens", **form))[0] == 400, "the name is taken"
    assert (await _answer(admin, "/tokens", name="other"))[0] == 400, "it may do nothing"
    assert (await _answer(admin, "/tokens", name="other", scope="everything"))[0] == 400
    assert (await _answer(admin, "/tokens", name="other", scope="read", account="999999"))[0] == 404
    assert (await _answer(admin, f"/tokens/{found.id}/revoke"))[0] == 303
    async with store.begin() as connection:
        assert await tokens.find_token(connection, made) is None
    assert {"token_added", "token_revoked"} <= set(await _acts(store))


# --- Audit ------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def acts(store: Store, world: World) -> list[datetime]:
    """Two hundred and fifty acts of Ivan, a minute apart, the newest now."""
    ivan = await _account(store, "ivan")
    times = [NOW - timedelta(minutes=number) for number in reversed(range(250))]
    async with store.begin() as connection:
        for number, at in enumerate(times):
            await audit.add_entry(connection, ivan.id, "note_added", {"card_id": number, "words": f"=1+1{HOSTILE}"})
            newest = select(audit_entry.c.id).order_by(audit_entry.c.id.desc()).limit(1).scalar_subquery()
            await connection.execute(update(audit_entry).where(audit_entry.c.id == newest).values(at=at))
    return times


async def test_the_log_is_filtered_and_turned_over(
    people: dict[str, Browser], store: Store, acts: list[datetime]
) -> None:
    admin, ivan = people["admin"], await _account(store, "ivan")
    path, seen = f"/audit?who={ivan.id}&what=note_added", 0
    while path:
        status, text = await admin.get(path)
        assert status == 200
        assert Tags(text).bad == []
        seen += text.count("<tr><td>")
        assert text.count('<a href="/cards/') == text.count("<tr><td>")  # to what each act was about
        following = re.findall(r'rel="next" href="([^"]+)"', text)
        path = following[0].replace("&amp;", "&") if following else ""
    assert seen == 250
    async with store.begin() as connection:
        wanted = AuditFilter(account_id=ivan.id, action="note_added", since=acts[10], until=acts[20])
        found = await auditlog.list_entries(connection, wanted)
        assert [one.subject["card_id"] for one in found] == list(range(19, 9, -1))
        assert await auditlog.list_entries(connection, AuditFilter(account_id=999_999)) == []
        assert "note_added" in await auditlog.list_actions(connection)
    for query in ("who=x", "before=x", "since=yesterday", "until=32.13", "who=-1"):
        assert (await admin.get(f"/audit?{query}"))[0] == 400, query
    assert (await admin.get("/audit?what=%00nothing&since=2020-01-01&until=2020-01-02"))[0] == 200


async def test_the_table_for_a_spreadsheet_has_no_formulas_and_is_an_act(
    people: dict[str, Browser], store: Store, acts: list[datetime]
) -> None:
    ivan = await _account(store, "ivan")
    async with people["admin"].http.get(f"/audit.csv?who={ivan.id}&what=note_added") as answer:
        assert answer.headers["Content-Disposition"].startswith("attachment")
        text = (await answer.read()).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) >= 251
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@"))]
    assert (await _acts(store))[0] == "audit_exported"


def test_what_an_act_was_about_is_short() -> None:
    assert in_words({"card_id": 5, "before": {"name": "x"}, "ids": [1, 2], "empty": "", "none": None}) == (
        "card_id: 5, before: name x, ids: 1 2"
    )
    assert len(in_words({"text": "x" * 100_000})) < 1000


def test_an_act_leads_to_what_it_was_about() -> None:
    assert place_of({"attachment_id": 1, "interaction_id": 6}) == "/interactions/6"
    assert place_of({"card_id": 5}) == "/cards/5"
    assert [place_of(one) for one in ({}, {"card_id": "5"}, {"account": "anna"})] == ["", "", ""]


# --- Retention --------------------------------------------------------------------------------------------------------


def test_months_before_end_with_the_month() -> None:
    at = datetime(2026, 3, 31, 12, tzinfo=UTC)
    assert retention.months_before(at, 1) == datetime(2026, 2, 28, 12, tzinfo=UTC)
    assert retention.months_before(at, 25) == datetime(2024, 2, 29, 12, tzinfo=UTC)
    assert retention.months_before(at, 12) == datetime(2025, 3, 31, 12, tzinfo=UTC)
    assert retention.months_before(datetime(2026, 1, 15, tzinfo=UTC), 1) == datetime(2025, 12, 15, tzinfo=UTC)


async def test_a_policy_says_beforehand_what_it_would_erase(people: dict[str, Browser], store: Store) -> None:
    admin = people["admin"]
    _, text = await admin.get("/retention")
    assert "primary" not in text, "nothing to save"
    _, text = await admin.get("/retention?calls=1200&mails=")
    assert 'name="calls" value="1200"' in text
    for query in ("calls=0", "calls=1201", "calls=x", "mails=-1", "mails=%D9%A1"):
        assert (await admin.get(f"/retention?{query}"))[0] == 400, query
    assert (await _answer(admin, "/retention", calls="1200", mails=""))[0] == 303
    async with store.begin() as connection:
        assert await retention.find_policy(connection) == {InteractionKind.CALL: 1200}
        assert not await retention.take_turn(connection, datetime.now(UTC)), "a day to think it over"
        later = datetime.now(UTC) + timedelta(days=1, minutes=1)
        assert await retention.take_turn(connection, later)
        assert not await retention.take_turn(connection, later), "once a day"
        await retention.save_policy(connection, {})
        assert not await retention.take_turn(connection, later + timedelta(days=9))


async def test_what_is_old_is_erased_as_an_act_and_what_is_held_stays(
    people: dict[str, Browser], store: Store, world: World
) -> None:
    admin = people["admin"]
    asked: list[int] = []

    async def ask(connection: object) -> None:
        asked.append(1)

    assert (await _answer(admin, "/holds", card=f"№ {world.camomile}", reason=f"спор {HOSTILE}"))[0] == 303
    assert (await _answer(admin, "/holds", card="999999"))[1].startswith("/retention?problem=")
    assert (await _answer(admin, "/holds", card="x"))[1].startswith("/retention?problem=")
    assert Tags((await admin.get("/retention"))[1]).bad == []
    long_ago = NOW - timedelta(days=800)
    async with store.begin() as connection:
        old = {world.camomiles_call, world.strangers_call, world.camomiles_mail}
        await connection.execute(update(interaction).where(interaction.c.id.in_(old)).values(started_at=long_ago))
        await retention.save_policy(connection, {InteractionKind.CALL: 24})
        before = retention.months_before(datetime.now(UTC), 24)
        due = await retention.list_due(connection, InteractionKind.CALL, before, limit=10)
        assert due == [world.strangers_call], "the other one stands on a card that is held"
        assert await retention.count_due(connection, InteractionKind.CALL, before, most=10) == 1
        assert await retention.count_due(connection, InteractionKind.MESSAGE, before, most=10) == 0
    await Retention(store, ask).retain()
    async with store.begin() as connection:
        rows = await connection.execute(
            select(interaction.c.id).where(interaction.c.erasure_id.is_not(None)).order_by(interaction.c.id)
        )
        assert list(rows.scalars()) == [world.strangers_call]
        value = await connection.execute(
            select(party.c.value).where(party.c.interaction_id == world.strangers_call).order_by(party.c.ordinal)
        )
        assert value.scalars().first() == ""
        (entry,) = await interactions.find_interactions(connection, [world.strangers_call])
        assert any("older than 24 months" in one for one in entry.flags)
    await Retention(store, ask).retain()
    assert asked == []
    assert (await _answer(admin, f"/holds/{world.camomile}/release"))[0] == 303
    assert (await _answer(admin, f"/holds/{world.camomile}/release"))[0] == 404
    async with store.begin() as connection:
        assert await retention.list_due(connection, InteractionKind.CALL, before, limit=10) == [world.camomiles_call]
        await retention.save_policy(connection, {})
    await Retention(store, ask).retain()
    async with store.begin() as connection:
        assert await retention.list_due(connection, InteractionKind.CALL, before, limit=10) == [world.camomiles_call]
        await companysettings.save_value(connection, "retention_run", {"at": "2020-01-01T00:00:00+00:00"})
        await retention.save_policy(connection, {InteractionKind.CALL: 24})
        await companysettings.save_value(connection, "retention_run", {"at": "2020-01-01T00:00:00+00:00"})
    await Retention(store, ask).look()
    await Retention(store, ask).look()
    assert asked == [1]


# --- The index, keys, sources -----------------------------------------------------------------------------------------


async def test_the_guide_goes_away_once_all_is_done(people: dict[str, Browser], store: Store) -> None:
    admin = people["admin"]
    _, text = await admin.get("/settings")
    assert 'class="panel guide"' in text
    assert (await _answer(admin, "/settings/guide/skip", step="keys"))[0] == 400, "nobody may go without"
    for step in ("crm", "seals"):
        assert (await _answer(admin, "/settings/guide/skip", step=step))[0] == 303
    _, text = await admin.get("/settings")
    assert "[[crm]]" not in text
    assert "[seal]" not in text
    assert "guide" not in (await people["boss"].get("/settings"))[1].partition("<main")[2]


async def test_an_empty_installation_begins_with_the_guide(
    archive: Archive, server: WebServer, people: dict[str, Browser]
) -> None:
    async with people["admin"].http.get("/", allow_redirects=False) as answer:
        assert answer.headers["Location"] == "/cards"
    async with people["anna"].http.get("/", allow_redirects=False) as answer:
        assert answer.headers["Location"] == "/cards"


async def test_keys_are_named_and_never_shown(people: dict[str, Browser], archive: Archive) -> None:
    _, text = await people["admin"].get("/keys")
    assert archive.keys.check_code() not in text, "it proves that a copy was looked at"
    archive.keys.confirm(archive.keys.check_code())
    _, text = await people["admin"].get("/keys")
    assert archive.keys.check_code() in text
    assert archive.keys.export().split()[1] not in text


def _status(source: str, state: str) -> SourceStatus:
    from agent.model import SourceState

    return SourceStatus(source=source, state=SourceState(state), detail="", changed=NOW)


def test_sources_say_what_to_do_and_which_never_showed_themselves() -> None:
    settings = Settings(
        mailbox=(
            MailboxSettings.model_validate({"name": "sales", "host": "h", "user": "u", "password": "p"}),
            MailboxSettings.model_validate({"name": "other", "host": "h", "user": "u", "password": "p"}),
        ),
    )
    found = group(
        [_status("imap:sales", "login_failed"), _status("siprec", "running"), _status("new", "stopped")], settings
    )
    lines = {part: [(one.name, one.state, one.remedy) for one in some] for part, some in found}
    assert lines == {
        "telephony": [("siprec", "running", "")],
        "mailboxes": [("imap:other", "", "remedy_unseen"), ("imap:sales", "login_failed", "remedy_login_failed")],
        "others": [("new", "stopped", "remedy_stopped")],
    }


async def test_machines_that_are_silent_are_shown(people: dict[str, Browser], store: Store) -> None:
    async with store.begin() as connection:
        await hosts.beat(connection, "office-1")
        await hosts.beat(connection, "office-2")
        await hosts.beat(connection, "office-3")
        for name, days in (("office-2", 1), ("office-3", 90)):
            past = datetime.now(UTC) - timedelta(days=days)
            await connection.execute(update(host).where(host.c.name == name).values(heard_at=past))
    _, text = await people["admin"].get("/sources")
    assert "office-1" in text
    assert "office-2" in text
    assert "office-3" not in text


# --- Every page -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def hostile(people: dict[str, Browser], store: Store) -> AsyncIterator[int]:
    """Hostile words wherever an administrator, or whoever logs in, can put them; the number of such an account."""
    admin = people["admin"]
    await _answer(admin, "/teams", name=f"Команда {HOSTILE}")
    await _answer(admin, "/tokens", name=f"Программа {HOSTILE}", scope="read")
    await _answer(admin, "/accounts", login=f"login{HOSTILE}", name=f"Имя {HOSTILE}", role="supervisor")
    await _answer(admin, "/employees", name=f"Сотрудник {HOSTILE}")
    yield (await _account(store, f"login{HOSTILE}"[:200])).id


@pytest.mark.parametrize("language", ["ru", "en"])
async def test_hostile_words_run_nowhere(people: dict[str, Browser], hostile: int, language: str) -> None:
    query = "?q=%3Cscript%3Ealert(1)%3C/script%3E&who=&what=%22%3E%3Cscript%3E&problem=%3Cscript%3E&done=%3Cscript%3E"
    for place in (*PLACES, f"/accounts/{hostile}"):
        for tail in ("", query):
            if place == "/retention" and tail:
                tail = "?problem=%3Cscript%3E&calls=&mails="
            status, text = await people["admin"].get(place + tail, **{"Cookie": "", "Accept-Language": language})
            assert status == 200, place
            assert Tags(text).bad == [], place
            assert "&#34;49" not in text, "what is put in is no template"


async def test_every_page_has_one_heading_and_its_name(people: dict[str, Browser]) -> None:
    for place in PLACES:
        _, text = await people["admin"].get(place)
        assert len(re.findall(r"<h1[ >]", text)) == 1, place
        assert re.search(r"<title>[^<]{3,} · Cardline</title>", text), place


async def test_foreign_and_unknown_numbers_are_404(people: dict[str, Browser]) -> None:
    admin = people["admin"]
    for path in ("/accounts/999999", "/accounts/999999999999999999"):
        assert (await admin.get(path))[0] == 404
    for path in (
        "/accounts/999999",
        "/accounts/999999/invite",
        "/accounts/999999/disable",
        "/accounts/999999/second-factor/reset",
        "/accounts/999999/logins/end",
        "/teams/999999/name",
        "/teams/999999/remove",
        "/team-members/999999/end",
        "/team-members/999999/remove",
        "/tokens/999999/revoke",
        "/holds/999999/release",
    ):
        assert (await _answer(admin, path, name="x", role="manager", valid_to="2026-01-01"))[0] == 404, path


async def test_an_installation_into_which_nothing_came_shows_the_guide_first(
    postgres: object, archive: Archive, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from tests.postgres import PostgresForTests

    assert isinstance(postgres, PostgresForTests)
    store = Store(await postgres.new_database())
    server = await serve(store, archive, settings_for(tmp_path_factory.getbasetemp()), cut_out)
    browser = Browser(server)
    try:
        async with store.begin() as connection:
            await accounts.insert_account(connection, "first", "Первая", PASSWORD, A)
        assert await browser.log_in("first") == 303
        async with browser.http.get("/", allow_redirects=False) as answer:
            assert answer.headers["Location"] == "/settings"
        for place in PLACES:
            assert (await browser.get(place))[0] == 200, place
    finally:
        await browser.close()
        await server.stop()
        await store.close()
