"""``BENCH=link``: one million cards with two million contact points, linked one by one, in bulk, and the past anew.

One by one as calls come: the whole way from the rows to the commit, on the embedded database as it ships. In bulk
10,000 calls of 10,000 numbers, beside one set-based SQL join that does the same in the same run: numbers normalised by
a regular expression, sides told apart, links written. The past: 10,000 calls of a number that becomes a card, through
the same jobs the worker does. Memory is that of this process with one per cent of the cards and with all of them.
LINK_CARDS makes it smaller; LINK_DATABASE keeps the database in a folder for another run.
"""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import text

from agent.model import Identity, IdentityKind
from agent.settings import Settings
from agent.store.engine import Store
from agent.store.migrate import migrate
from agent.store.postgres import EmbeddedPostgres
from linker.link import Linker
from tests.bench.result import Result

CARDS = int(os.environ.get("LINK_CARDS", "1000000"))
SINGLE, WARM, BULK, RETRO = 3000, 500, 10_000, 10_000
JOB = 500  # interactions of a job in bulk, as an import makes them
AT_ONCE = 4  # jobs, as `agent.worker` has it
P99_MS, TIMES, A_SECOND, RETRO_SECONDS, GROWTH_MB = 5.0, 3.0, 2000, 30.0, 16

_CARDS = """
INSERT INTO client_card (id, kind, name, responsible_id) OVERRIDING SYSTEM VALUE
SELECT n, CASE WHEN n % 10 = 0 THEN 'company' ELSE 'person' END, 'Client ' || n, 1
FROM generate_series({first}, {last}) AS n
"""
_PHONES = """
INSERT INTO contact_point (client_card_id, kind, value)
SELECT n, 'phone', '+7' || (9000000000 + CASE WHEN n % 100 = 0 THEN n - 1 ELSE n END)
FROM generate_series({first}, {last}) AS n
"""
_ADDRESSES = """
INSERT INTO contact_point (client_card_id, kind, value)
SELECT n, 'address', 'client' || n || '@c' || n % 300000 || '.example.org' FROM generate_series({first}, {last}) AS n
"""
# Every fifth call is of a number on no card; one in a hundred numbers is on two.
_CALLS = """
WITH made AS (
    INSERT INTO interaction (kind, started_at, conversation_key)
    SELECT 'call', timestamptz '2026-05-05 12:00+00' + n * interval '1 second', :mark || n
    FROM generate_series(1, :count) n RETURNING id, split_part(conversation_key, '-', 2)::int AS n
), calls AS (
    INSERT INTO call (interaction_id, answered_at, ended_at, disposition)
    SELECT id, now(), now(), 'answered' FROM made
)
INSERT INTO party (interaction_id, ordinal, position, kind, value, channel)
SELECT id, 0, 'caller', 'phone', CASE WHEN :number <> '' THEN :number
    WHEN n % 5 = 0 THEN '8499' || lpad((n * 7 + :offset)::text, 7, '0')
    ELSE '8' || (9000000000 + 1 + (n::bigint * 7919 + :offset) % :cards) END, 0 FROM made
UNION ALL SELECT id, 1, 'callee', 'phone', '101', 1 FROM made
"""
_UNBIND = "UPDATE interaction SET conversation_key = NULL WHERE conversation_key LIKE :mark RETURNING id"

# What an integration written in SQL would do for the same calls.
_PEER = (
    """
    UPDATE party SET identity_kind = 'phone', role = 'client',
        identity_value = '+7' || right(regexp_replace(value, '[^0-9]', '', 'g'), 10)
    WHERE interaction_id = ANY(:ids) AND length(regexp_replace(value, '[^0-9]', '', 'g')) > 5
    """,
    """
    UPDATE party SET identity_kind = 'extension', role = 'employee', identity_value = party.value,
        employee_id = held.employee_id
    FROM employee_identity held
    WHERE interaction_id = ANY(:ids) AND held.kind = 'extension' AND held.value = party.value
    """,
    """
    UPDATE interaction SET direction = CASE WHEN p.role = 'employee' THEN 'outbound' ELSE 'inbound' END
    FROM party p WHERE p.interaction_id = interaction.id AND p.position = 'caller' AND interaction.id = ANY(:ids)
    """,
    """
    INSERT INTO link (interaction_id, client_card_id, started_at, state, reason)
    SELECT i.id, CASE WHEN count(c.id) = 1 THEN min(c.id) END, i.started_at,
        CASE count(c.id) WHEN 0 THEN 'unknown' WHEN 1 THEN 'linked' ELSE 'ambiguous' END,
        CASE count(c.id) WHEN 1 THEN 'phone ' || p.identity_value || ' is the card''s' ELSE p.identity_value END
    FROM interaction i JOIN party p ON p.interaction_id = i.id AND p.role = 'client'
        LEFT JOIN contact_point t ON t.kind = p.identity_kind AND t.value = p.identity_value
        LEFT JOIN client_card c ON c.id = t.client_card_id AND c.merged_into_id IS NULL
    WHERE i.id = ANY(:ids) GROUP BY i.id, i.started_at, p.identity_value
    """,
)


def run() -> Result:
    """Make the cards, link, compare."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    kept = os.environ.get("LINK_DATABASE")
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as folder:
        return asyncio.run(_run(Path(kept or folder)))


async def _run(folder: Path) -> Result:
    server = EmbeddedPostgres(folder)
    await server.start()
    store = Store(server.url)
    try:
        await migrate(server.url)
        found = await _measure(store)
    finally:
        await store.close()
        await server.stop()
    ratio = found["sql_seconds"] / found["bulk_seconds"]
    holds = (
        found["p99_ms"] < P99_MS
        and found["bulk_seconds"] <= TIMES * found["sql_seconds"]
        and found["a_second"] >= A_SECOND
        and found["retro_seconds"] < RETRO_SECONDS
        and found["growth_mb"] < GROWTH_MB
    )
    return Result(
        bench="link",
        work=f"{CARDS} cards with {2 * CARDS} contact points; {BULK} calls in bulk",
        unit="links/s",
        ours=found["a_second"],
        peer=round(BULK / found["sql_seconds"]),
        ratio=round(ratio, 2),
        goal=f"p99 of one under {P99_MS:g} ms, bulk at most {TIMES:g} times the SQL join and {A_SECOND}/s,"
        f" {RETRO} of the past under {RETRO_SECONDS:g} s, memory as with few cards",
        holds=holds,
        details=found,
    )


async def _measure(store: Store) -> dict[str, Any]:
    linker, few = Linker(store, Settings()), max(CARDS // 100, 1)
    await _employ(store)
    await _make_cards(store, 1, few)
    await _link_all(linker, await _make_calls(store, "few", WARM, offset=1))
    before = _memory()
    began = time.monotonic()
    await _make_cards(store, few + 1, CARDS)
    print(f"{CARDS} cards made in {time.monotonic() - began:.0f} s", flush=True)
    times, processor = await _one_by_one(store, linker, await _make_calls(store, "single", WARM + SINGLE, offset=3))
    sets = [await _make_calls(store, f"bulk{part}", BULK, offset=11 + part) for part in range(2)]
    await _execute(store, "ANALYZE interaction", "ANALYZE party", "ANALYZE link", "CHECKPOINT")
    sql = await _time_sql(store, sets[0])
    await _execute(store, "CHECKPOINT")
    bulk = await _link_all(linker, sets[1])
    await _compare(store, sets)
    growth = _memory() - before
    retro = await _retro(store, linker)
    found = {
        "p50_ms": round(times[len(times) // 2] * 1000, 2),
        "p99_ms": round(times[int(len(times) * 0.99)] * 1000, 2),
        "processor_ms": round(processor[0] * 1000 / SINGLE, 2),
        "server_processor_ms": round(processor[1] * 1000 / SINGLE, 2),
        "bulk_seconds": round(bulk, 2),
        "sql_seconds": round(sql, 2),
        "a_second": round(BULK / bulk),
        "retro_seconds": round(retro, 2),
        "growth_mb": round(growth, 1),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }
    print(found, flush=True)
    return found


async def _execute(store: Store, *statements: str) -> None:
    for one in statements:
        async with store.begin() as connection:
            await connection.execute(text(one))


async def _employ(store: Store) -> None:
    await _execute(
        store,
        "INSERT INTO employee (name) VALUES ('Anna')",
        "INSERT INTO employee_identity (employee_id, kind, value) SELECT id, 'extension', '101' FROM employee",
    )


async def _make_cards(store: Store, first: int, last: int) -> None:
    place = {"first": first, "last": last}
    await _execute(store, *(one.format(**place) for one in (_CARDS, _PHONES, _ADDRESSES)))
    await _execute(
        store, "SELECT setval(pg_get_serial_sequence('client_card', 'id'), (SELECT max(id) FROM client_card))"
    )
    await _execute(store, "ANALYZE client_card", "ANALYZE contact_point")


async def _make_calls(store: Store, mark: str, count: int, *, offset: int = 0, number: str = "") -> list[int]:
    values = {"mark": f"{mark}-", "count": count, "offset": offset * 1_000_003, "cards": CARDS, "number": number}
    async with store.begin() as connection:
        await connection.execute(text(_CALLS), values)
        rows = await connection.execute(text(_UNBIND), {"mark": f"{mark}-%"})
        return sorted(rows.scalars())


async def _one_by_one(store: Store, linker: Linker, ids: list[int]) -> tuple[list[float], tuple[float, float]]:
    """Seconds of each, the shortest first; and of the processor for all, ours and the server's: these tell something on
    a machine that does other things too."""
    for one in ids[:WARM]:
        await linker.link([one])
    times, before = [], await _processor(store)
    for one in ids[WARM:]:
        began = time.perf_counter()
        await linker.link([one])
        times.append(time.perf_counter() - began)
    after = await _processor(store)
    return sorted(times), (after[0] - before[0], after[1] - before[1])


async def _processor(store: Store) -> tuple[float, float]:
    """Seconds this process and the server's sessions have had."""
    query = text("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")
    async with store.begin() as connection:
        pids = list((await connection.execute(query)).scalars())
    spent = (int(Path(f"/proc/{one}/schedstat").read_text().split()[0]) for one in pids)
    return time.process_time(), sum(spent) / 1e9


async def _link_all(linker: Linker, ids: list[int]) -> float:
    work = [{"interaction_ids": ids[at : at + JOB]} for at in range(0, len(ids), JOB)]
    began = time.perf_counter()
    await _work(linker, work)
    return time.perf_counter() - began


async def _work(linker: Linker, jobs: list[dict[str, Any]]) -> None:
    """As a worker does them: a few at a time, the next as soon as one is done."""
    left = iter(jobs)

    async def take() -> None:
        for one in left:
            await linker.link(**one)

    await asyncio.gather(*(take() for _ in range(AT_ONCE)))


async def _time_sql(store: Store, ids: list[int]) -> float:
    began = time.perf_counter()
    async with store.begin() as connection:
        for one in _PEER:
            await connection.execute(text(one), {"ids": ids})
    return time.perf_counter() - began


async def _compare(store: Store, sets: list[list[int]]) -> None:
    """Both have done the work: as many links of each state, within what different numbers allow."""
    counts = []
    query = text("SELECT state, count(*) AS entries FROM link WHERE interaction_id = ANY(:ids) GROUP BY state")
    async with store.begin() as connection:
        for ids in sets:
            counts.append({row.state: row.entries for row in await connection.execute(query, {"ids": ids})})
    print(f"SQL {counts[0]}, ours {counts[1]}", flush=True)
    if any(sum(one.values()) != BULK for one in counts) or abs(counts[0]["linked"] - counts[1]["linked"]) > BULK / 50:
        raise SystemExit(f"The two did not do the same work: {counts}")


async def _retro(store: Store, linker: Linker) -> float:
    """A number with a past becomes a card; the jobs are done as a worker does them, a few at a time."""
    ids = await _make_calls(store, "retro", RETRO, number="+79160000001")
    await _execute(store, "DELETE FROM contact_point WHERE value = '+79160000001'")
    await _link_all(linker, ids)
    began = time.perf_counter()
    await linker.create_card_from(Identity(kind=IdentityKind.PHONE, value="+79160000001"), "Petrov")
    take = text("DELETE FROM procrastinate_jobs WHERE task_name = 'link' AND status = 'todo' RETURNING id, args")
    async with store.begin() as connection:
        work = [row.args for row in sorted(await connection.execute(take), key=lambda row: row.id)]
    await _work(linker, work)
    seconds = time.perf_counter() - began
    query = text("SELECT count(*) FROM link WHERE state = 'linked' AND interaction_id = ANY(:ids)")
    async with store.begin() as connection:
        if (await connection.execute(query, {"ids": ids})).scalar_one() != RETRO:
            raise SystemExit("The past did not follow.")
        if (await connection.execute(text("SELECT min(done) FROM relink_run"))).scalar_one() != RETRO:
            raise SystemExit("The progress was not told.")
    return seconds


def _memory() -> float:
    """The most this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
