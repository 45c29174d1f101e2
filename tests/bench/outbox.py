"""Deliveries to a CRM in memory that fails one request in five and loses one answer in twenty: each arrives once.

``CARDLINE_BENCH_DELIVERIES`` says how many (2,000 unless told otherwise; the goal is stated for 100,000). The entries
are rows of mails; from the wish on all is what runs in an installation: claims, leases, steps, commits.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from sqlalchemy import text

from agent.archive.blobs import open_archive
from agent.settings import Settings
from agent.settings_crm import CrmSettings
from agent.store import connectors, outbox
from agent.store.engine import Store
from linker.crm.connected import Crms
from linker.crm.facts import CrmCard, ExternalId
from linker.deliver import Deliverer
from tests.bench.result import Result
from tests.crm_memory import MemoryCrm
from tests.postgres import PostgresForTests

_CARDS = 500
_FAILS, _LOSES = 0.2, 0.05
_BATCH = 2000
_STALLED_TURNS = 200

_CARDS_SQL = """
    INSERT INTO client_card (name) SELECT 'Card ' || n FROM generate_series(1, :cards) AS n
"""
_PLACES_SQL = """
    INSERT INTO crm_card (connector_id, kind, external_id, client_card_id, name)
    SELECT :connector, 'contact', id::text, id, name FROM client_card
"""
_MAILS_SQL = """
    WITH threads AS (INSERT INTO thread (subject) VALUES ('Offer') RETURNING id),
    made AS (
        INSERT INTO interaction (kind, started_at, direction)
        SELECT 'message', now() + make_interval(secs => n), 'inbound' FROM generate_series(1, :mails) AS n
        RETURNING id, started_at),
    mails AS (
        INSERT INTO message (interaction_id, logical_key, thread_id, message_id, subject, category, text)
        SELECT made.id, made.id::text, threads.id, made.id || '@example.com', 'Offer', 'conversation', 'Here it is.'
        FROM made, threads)
    INSERT INTO link (interaction_id, client_card_id, started_at, state, reason)
    SELECT id, 1 + id % :cards, started_at, 'linked', 'bench' FROM made
"""


def run() -> Result:
    """Every delivery there, once, in the order of its card."""
    count = int(os.environ.get("CARDLINE_BENCH_DELIVERIES", "2000"))
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as folder:
        return asyncio.run(_run(Path(folder), count))


async def _run(folder: Path, count: int) -> Result:
    server = PostgresForTests(folder / "postgres")
    await server.start()
    try:
        store = Store(await server.new_database())
        crm = MemoryCrm(fails=_FAILS, loses=_LOSES)
        wanted = await _prepare(store, crm, count)
        seconds = await _tell(store, crm, folder)
        result = await _judge(store, crm, count, seconds)
        await store.close()
        return replace(result, details={**result.details, "wishes_a_second": round(count / wanted)})
    finally:
        await server.stop()


async def _prepare(store: Store, crm: MemoryCrm, count: int) -> float:
    """Seconds that the wishes took."""
    async with store.begin() as connection:
        await connectors.switch_on(connection, [("office", "tryton", True)])
        await connection.execute(text(_CARDS_SQL), {"cards": _CARDS})
        office = await connectors.find_connector(connection, "office")
        assert office is not None
        await connection.execute(text(_PLACES_SQL), {"connector": office.id})
        await connection.execute(text(_MAILS_SQL), {"mails": count, "cards": _CARDS})
        ids = list((await connection.execute(text("SELECT id FROM interaction ORDER BY id"))).scalars())
    crm.cards = {
        str(one): CrmCard(id=ExternalId(kind="contact", id=str(one)), name="", kind="person", identities=())
        for one in range(1, _CARDS + 1)
    }
    began = perf_counter()
    for at in range(0, len(ids), _BATCH):
        async with store.begin() as connection:
            await outbox.want(connection, ids[at : at + _BATCH])
    return perf_counter() - began


async def _tell(store: Store, crm: MemoryCrm, folder: Path) -> float:
    """Until nothing waits; what waits for its time is hurried, as the pauses are no work of ours."""
    table = CrmSettings.model_validate({"name": "office", "kind": "tryton", "url": "https://crm.example.com"})
    settings = Settings(data_dir=folder / "data", crm=(table,))
    archive = open_archive(folder / "archive", "")
    deliverer = Deliverer(store, archive, Crms(store, settings, archive.keys, connect=lambda *_: crm))
    began = perf_counter()
    for _ in range(_STALLED_TURNS):
        await deliverer.deliver("office")
        async with store.begin() as connection:
            hurry = "UPDATE delivery SET due_at = now() WHERE state = 'waiting' AND due_at > now()"
            await connection.execute(text(hurry))
            left = await connection.execute(text("SELECT count(*) FROM delivery WHERE state = 'waiting'"))
            await connection.execute(text("UPDATE connector SET paused_until = NULL"))
            if left.scalar_one() == 0:
                break
    return perf_counter() - began


async def _judge(store: Store, crm: MemoryCrm, count: int, seconds: float) -> Result:
    async with store.begin() as connection:
        rows = list(await connection.execute(text("SELECT key, state, client_card_id FROM delivery ORDER BY id")))
    copies = crm.copies()
    once = sum(copies[row.key] == 1 for row in rows)
    order: dict[int, list[str]] = {}
    for row in rows:
        order.setdefault(row.client_card_id, []).append(row.key)
    seen = {card: [one.activity.key for one in crm.on(str(card))] for card in order}
    in_order = sum(seen[card] == keys for card, keys in order.items())
    holds = once == count and sum(copies.values()) == count and in_order == len(order)
    return Result(
        bench="outbox",
        work=f"{count} deliveries, one request in five fails, one answer in twenty is lost",
        unit="deliveries a second",
        ours=round(count / seconds, 1),
        peer=None,
        ratio=None,
        goal="each exactly once, in order on its card",
        holds=holds,
        details={
            "exactly_once": once,
            "objects": sum(copies.values()),
            "cards_in_order": f"{in_order}/{len(order)}",
            "given_up": sum(row.state == "failed" for row in rows),
            "requests": crm.requests.total(),
        },
    )
