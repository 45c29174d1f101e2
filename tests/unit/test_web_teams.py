"""What a supervisor of a team sees, and a manager who sees his team: on every page, with foreign ids tried on each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, text

from agent.archive.blobs import Archive
from agent.model import UserRole
from agent.store import accounts, cardmerges, employees, live, rights, teams, tokens, unsorted
from agent.store.engine import Store
from agent.store.rights import Tenure, Viewer
from agent.store.schema import card_merge, client_card, interaction
from agent.web import events
from agent.web.app import WebServer
from agent.web.events import LiveHub
from agent.web.routes import TABLE
from tests.unit.web_pages import A, M, S, cut_out, people, server, world
from tests.web_world import NOW, PASSWORD, Browser, World, serve, settings_for

__all__ = ["people", "server", "world"]


@pytest.fixture(scope="module")
async def anna_id(store: Store, world: World) -> int:
    async with store.begin() as connection:
        return next(one.id for one in await employees.list_employees(connection) if one.name.startswith("Анна"))


@pytest.fixture(scope="module")
async def lead(server: WebServer, store: Store, world: World, anna_id: int) -> AsyncIterator[Browser]:
    """Lida leads the team in which Anna is."""
    async with store.begin() as connection:
        number = await accounts.insert_account(connection, "lida", "Лида", PASSWORD, S, all_teams=False)
        team_id = await teams.insert_team(connection, "Север")
        assert team_id is not None
        assert await teams.add_member(connection, team_id, anna_id)
        await teams.set_supervised(connection, number, [team_id])
    browser = Browser(server)
    assert await browser.log_in("lida") == 303
    yield browser
    await browser.close()


def annas(world: World) -> list[str]:
    return [
        f"/cards/{world.maria}",
        f"/interactions/{world.marias_call}",
        f"/recordings/{world.marias_recording}",
        f"/interactions/{world.strangers_call}",
    ]


def ivans(world: World) -> list[str]:
    return [
        f"/cards/{world.camomile}",
        f"/interactions/{world.camomiles_call}",
        f"/interactions/{world.camomiles_mail}",
        f"/interactions/{world.camomiles_mail}/html",
        f"/recordings/{world.camomiles_recording}",
        f"/attachments/{world.camomiles_attachment}",
        f"/evidence/{world.camomiles_evidence}/original",
        f"/evidence/{world.unreadable_evidence}/original",
    ]


async def test_a_supervisor_of_a_team_sees_what_its_members_did(lead: Browser, world: World) -> None:
    for path in annas(world):
        assert (await lead.get(path))[0] == 200, path
    for path in ivans(world):
        assert (await lead.get(path))[0] == 404, path


async def test_lists_and_what_waits_are_the_teams(lead: Browser) -> None:
    _, listed = await lead.get("/cards")
    assert "Мария Смирнова" in listed
    assert "Ромашка" not in listed
    _, waiting = await lead.get("/unsorted")
    assert "495 000-00-33" in waiting
    assert "no header could be read" not in waiting, "what is nobody's is for those who see everything"


async def test_what_is_the_companys_is_not_a_team_supervisors(lead: Browser) -> None:
    whole = [one for one in TABLE if one.whole]
    assert {one.path for one in whole} >= {"/decisions", "/sources", "/crm", "/duplicates", "/cards/export.csv"}
    for one in whole:
        target = one.path.replace(r"{id:\d{1,18}}", "1")
        form = {"csrf": await lead.token()} if one.method == "POST" else None
        async with lead.http.request(one.method, target, data=form, allow_redirects=False) as answer:
            assert answer.status == 403, target


async def test_a_team_supervisor_corrects_only_what_he_sees(lead: Browser, world: World, store: Store) -> None:
    async with store.begin() as connection:
        values = {"kept_id": world.camomile, "gone_id": world.maria, "by": "boss", "undone_by": "boss"}
        statement = insert(card_merge).values(**values, undone_at=datetime.now(UTC)).returning(card_merge.c.id)
        merge_id = (await connection.execute(statement)).scalar_one()
        assert await cardmerges.find_kept(connection, merge_id) == world.camomile
    other = str(world.camomile)
    assert await lead.post(f"/cards/{world.maria}/merge", other=other) == 404
    assert await lead.post(f"/cards/{world.maria}/distinct", other=other) == 404
    assert await lead.post(f"/cards/{world.camomile}/merge", other=str(world.maria)) == 404
    assert await lead.post(f"/cards/{world.camomile}/split", name="Другая", point="1") == 404
    assert await lead.post(f"/merges/{merge_id}/undo") == 404
    assert await lead.post(f"/evidence/{world.camomiles_evidence}/separate") == 404
    assert await lead.post(f"/interactions/{world.marias_call}/unite", other=str(world.camomiles_call)) == 404
    assert await lead.post(f"/interactions/{world.camomiles_call}/unite", other=str(world.marias_call)) == 404
    assert await lead.post(f"/interactions/{world.camomiles_call}/credit", party="1", employee="") == 404
    assert await lead.post(f"/interactions/{world.camomiles_call}/card", decision="ignore") == 404
    assert (await lead.get(f"/calls/{world.camomiles_call}/listen"))[0] == 404


async def _sees(store: Store, viewer: Viewer, number: int) -> bool:
    async with store.begin() as connection:
        return await rights.may_see_interaction(connection, viewer, number)


def _lead(*tenures: Tenure) -> Viewer:
    return Viewer(account_id=1, role=S, employee_id=None, all_teams=False, colleagues=tenures)


async def test_membership_counts_from_a_day_to_a_day(store: Store, world: World, anna_id: int) -> None:
    at = NOW - timedelta(hours=1)
    hour = timedelta(hours=1)
    during = Tenure(employee_id=anna_id, since=at - hour, until=at + hour)
    before = Tenure(employee_id=anna_id, since=at - 2 * hour, until=at)
    after = Tenure(employee_id=anna_id, since=at + timedelta(seconds=1))
    edge = Tenure(employee_id=anna_id, since=at, until=at + timedelta(seconds=1))
    for one, expected in ((during, True), (before, False), (after, False), (edge, True)):
        async with store.begin() as connection:
            query = select(interaction.c.id).where(
                interaction.c.id == world.marias_call, rights.took_part(_lead(one), interaction.c.id)
            )
            assert ((await connection.execute(query)).first() is not None) is expected, one
            past = select(client_card.c.id).where(
                client_card.c.id == world.maria, rights.is_visible_card(_lead(one), client_card.c.id)
            )
            is_member_now = one.is_valid(datetime.now(UTC))
            found = (await connection.execute(past)).first() is not None
            assert found is (expected or is_member_now), "by the call, or because its responsible is a member today"
    assert not await _sees(store, _lead(), world.marias_call)


async def test_who_left_keeps_his_past_in_the_team_and_takes_his_future_along(
    store: Store, world: World, anna_id: int
) -> None:
    async with store.begin() as connection:
        team_id = await teams.find_or_insert_team(connection, "Юг")
        assert await teams.add_member(connection, team_id, anna_id)
        assert not await teams.add_member(connection, team_id, anna_id), "already a member"
        (member,) = next(one for one in await teams.list_teams(connection) if one.id == team_id).members
        number = await accounts.insert_account(connection, "south", "Юля", None, S, all_teams=False)
        await teams.set_supervised(connection, number, [team_id, 999_999])
        assert await teams.end_member(connection, member.id, NOW - timedelta(minutes=90))
        viewer = await rights.make_viewer(connection, account_id=number, role=S, employee_id=None, all_teams=False)
    assert [one.employee_id for one in viewer.colleagues] == [anna_id]
    assert await _sees(store, viewer, world.strangers_call)
    assert not await _sees(store, viewer, world.marias_call)
    async with store.begin() as connection:
        assert await teams.remove_team(connection, team_id)
        viewer = await rights.make_viewer(connection, account_id=number, role=S, employee_id=None, all_teams=False)
    assert not await _sees(store, viewer, world.strangers_call)


async def test_a_manager_sees_his_team_by_setting_and_hears_only_his_own(
    store: Store, world: World, anna_id: int, lead: Browser
) -> None:
    async with store.begin() as connection:
        (team_id,) = [one.id for one in await teams.list_teams(connection) if one.name == "Север"]
        number = await employees.insert_employee(connection, "Новый Менеджер")
        assert await teams.add_member(connection, team_id, number)
        facts: dict[str, Any] = {"account_id": 5, "role": M, "employee_id": number, "all_teams": True}
        alone = await rights.make_viewer(connection, **facts)
        team = await rights.make_viewer(connection, **facts, managers_see_team=True)
        waiting = [await unsorted.count_unsorted(connection, one) for one in (alone, team)]
    assert not await _sees(store, alone, world.marias_call)
    assert await _sees(store, team, world.marias_call)
    assert not await _sees(store, team, world.camomiles_call)
    assert waiting[0] < waiting[1]
    async with store.begin() as connection:
        for viewer, own in ((team, False), (_lead(Tenure(employee_id=anna_id)), True)):
            query = select(interaction.c.id).where(
                interaction.c.id == world.marias_call, rights.handles(viewer, interaction.c.id)
            )
            assert ((await connection.execute(query)).first() is not None) is own


async def test_the_setting_reaches_the_pages(
    store: Store,
    archive: Archive,
    world: World,
    anna_id: int,
    lead: Browser,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    async with store.begin() as connection:
        (team_id,) = [one.id for one in await teams.list_teams(connection) if one.name == "Север"]
        assert await teams.add_member(connection, team_id, world.ivan)
    server = await serve(store, archive, settings_for(tmp_path_factory.getbasetemp(), managers_see="team"), cut_out)
    browser = Browser(server)
    try:
        assert await browser.log_in("ivan") == 303
        for path in annas(world):
            assert (await browser.get(path))[0] == 200, path
    finally:
        await browser.close()
        await server.stop()
        async with store.begin() as connection:
            (team,) = [one for one in await teams.list_teams(connection) if one.id == team_id]
            for member in team.members:
                if member.employee_id == world.ivan:
                    await teams.remove_member(connection, member.id)


async def test_events_tell_a_team_supervisor_of_his_teams_only(store: Store, world: World, anna_id: int) -> None:
    hub = LiveHub(store, most=10)
    readers = [hub.join(_lead(Tenure(employee_id=one))) for one in (anna_id, world.ivan)]
    await hub._spread([world.marias_call, world.camomiles_call])
    told = [reader.take() for reader in readers if reader is not None]
    assert str(world.marias_call).encode() in told[0]
    assert str(world.camomiles_call).encode() not in told[0]
    assert str(world.camomiles_call).encode() in told[1]
    assert str(world.marias_call).encode() not in told[1]
    async with store.begin() as connection:
        assert world.camomiles_call not in await live.list_visible(
            connection, _lead(Tenure(employee_id=anna_id)), [world.camomiles_call, world.marias_call]
        )


async def test_a_stream_ends_when_rights_change_and_begins_anew_with_those_of_now(
    server: WebServer, store: Store, world: World, lead: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    async with lead.http.get("/events", headers={"Accept": "text/event-stream"}) as answer:
        assert answer.status == 200
        await answer.content.readline()
        async with store.begin() as connection:
            team_id = await teams.find_or_insert_team(connection, "Север")
            assert await teams.add_member(connection, team_id, world.ivan)
        async with asyncio.timeout(10):
            while await answer.content.readline():
                pass
    assert (await lead.get(f"/cards/{world.camomile}"))[0] == 200
    async with store.begin() as connection:
        for one in await teams.list_teams(connection):
            for member in one.members:
                if one.id == team_id and member.employee_id == world.ivan:
                    await teams.remove_member(connection, member.id)


async def test_a_token_may_do_no_more_than_its_account(
    server: WebServer, store: Store, world: World, lead: Browser
) -> None:
    async with store.begin() as connection:
        account = await accounts.find_account(connection, "lida")
        assert account is not None
        made = await tokens.insert_token(connection, "lida's", tokens.SCOPES, account_id=account.id)
        found = await tokens.find_token(connection, made)
    assert found is not None
    assert not found.viewer.sees_all
    assert [one.employee_id for one in found.viewer.colleagues]
    assert await _sees(store, found.viewer, world.marias_call)
    assert not await _sees(store, found.viewer, world.camomiles_call)


def test_roles_say_who_sees_everything() -> None:
    for role, all_teams, sees_all, supervises in (
        (A, False, True, True),
        (S, True, True, True),
        (S, False, False, True),
        (M, True, False, False),
    ):
        viewer = Viewer(account_id=1, role=UserRole(role), employee_id=1, all_teams=all_teams)
        assert (viewer.sees_all, viewer.supervises) == (sees_all, supervises)


async def test_questions_of_rights_use_indexes(store: Store, anna_id: int) -> None:
    viewer = _lead(Tenure(employee_id=anna_id), Tenure(employee_id=999, since=NOW - timedelta(days=9)))
    query = select(interaction.c.id).where(
        interaction.c.id == 1, rights.is_visible_interaction(viewer, interaction.c.id)
    )
    async with store.begin() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        compiled = query.compile(connection.sync_connection, compile_kwargs={"render_postcompile": True})
        driver = await connection.exec_driver_sql("EXPLAIN " + str(compiled), compiled.params)
        plan = "\n".join(row[0] for row in driver)
    assert "Seq Scan on party" not in plan
    assert "Seq Scan on link" not in plan
    assert "Seq Scan on interaction" not in plan
