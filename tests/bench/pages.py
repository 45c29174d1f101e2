"""``BENCH=pages``: cards, calls and searches on a million interactions, as eight people look at them at once.

Page processes as they ship, one a core, serve over the embedded database; eight clients (administrators,
supervisors and managers) ask for one page after the other without a pause over HTTP: 200 random cards, the largest
among them, calls of these cards, and searches for common and rare words, phrases and numbers. Managers look at cards of
their own. The same card pages are asked for in a company a tenth the size with cards as long; its times are the peer.
PAGES_BENCH_INTERACTIONS makes it smaller; PAGES_BENCH_FOLDER keeps the databases in a folder for another run.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from aiohttp import ClientSession, CookieJar
from sqlalchemy import text
from yarl import URL

from agent.model import UserRole
from agent.settings import WebSettings
from agent.store import accounts
from agent.store.engine import Store
from agent.store.migrate import migrate
from agent.store.postgres import EmbeddedPostgres
from agent.web.binding import open_socket
from tests.bench._pages_world import EMPLOYEES, RARE, PagesWorld, Size
from tests.bench.result import Result

INTERACTIONS = int(os.environ.get("PAGES_BENCH_INTERACTIONS", "1000000"))
CLIENTS, CARDS, WARM, ROUNDS = 8, 200, 40, 400
CARD_MS, CALL_MS, SEARCH_MS, GROWTH = 80.0, 80.0, 200.0, 1.5
PASSWORD = "correct horse battery"
ROLES = (
    UserRole.ADMINISTRATOR,
    UserRole.SUPERVISOR,
    UserRole.MANAGER,
    UserRole.ADMINISTRATOR,
    UserRole.SUPERVISOR,
    UserRole.MANAGER,
    UserRole.MANAGER,
    UserRole.SUPERVISOR,
)


def run() -> Result:
    """Make the two companies, look at them, compare."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    kept = os.environ.get("PAGES_BENCH_FOLDER")
    with tempfile.TemporaryDirectory(prefix="cardline-bench-") as folder:
        return asyncio.run(_run(Path(kept or folder)))


async def _run(folder: Path) -> Result:
    small = await _company(folder / "small", max(INTERACTIONS // 10, 1000), cards_only=True)
    large = await _company(folder / "large", INTERACTIONS)
    details = {f"small_{name}": value for name, value in small.items()} | large
    ratio = large["card_alone_p50"] / small["card_alone_p50"]  # of a page by itself, without waiting for others
    details["growth"] = round(ratio, 2)
    holds = (
        large["card_p95"] < CARD_MS
        and large["call_p95"] < CALL_MS
        and large["search_p95"] < SEARCH_MS
        and ratio <= GROWTH
    )
    return Result(
        bench="pages",
        work=f"{INTERACTIONS} interactions, {CLIENTS} clients at once without a pause",
        unit="ms p95 of a card page",
        ours=large["card_p95"],
        peer=small["card_p95"],
        ratio=round(1 / ratio, 2),
        goal=f"p95 of a card under {CARD_MS:g} ms, a call {CALL_MS:g}, a search {SEARCH_MS:g}; ten times the data at "
        f"most {GROWTH:g} times the time of a card",
        holds=holds,
        details=details,
    )


async def _company(folder: Path, interactions: int, *, cards_only: bool = False) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    server = EmbeddedPostgres(folder)
    await server.start()
    store = Store(server.url)
    try:
        await migrate(server.url)
        world = PagesWorld(Size(interactions=interactions, cards=max(interactions // 50, 100)))
        await _make(world, store, server.url)
        return await _look(world, store, server.url, cards_only=cards_only)
    finally:
        await store.close()
        await server.stop()


async def _make(world: PagesWorld, store: Store, url: str) -> None:
    async with store.begin() as connection:
        if (await connection.execute(text("SELECT EXISTS (SELECT FROM search_entry)"))).scalar_one():
            return
    times = await asyncio.to_thread(world.make, url)
    times["words"] = await world.index(store)
    print(f"{world.size}: {', '.join(f'{name} {seconds:.0f} s' for name, seconds in times.items())}", flush=True)


async def _look(world: PagesWorld, store: Store, url: str, *, cards_only: bool) -> dict[str, Any]:
    logins = await _accounts(store)
    async with _serving(url) as base:
        clients = [await Client.enter(base, role, *logins[role, place]) for place, role in enumerate(ROLES)]
        found = await _measure(world, store, clients, cards_only=cards_only)
        for one in clients:
            one.close()
        return found


@asynccontextmanager
async def _serving(url: str) -> AsyncIterator[URL]:
    """Page processes as they ship, one a core, over one socket; they end with their standard input."""
    with tempfile.TemporaryDirectory() as folder, open_socket(WebSettings(port=0)) as listening:
        settings = {"DATABASE__URL": url, "DATA_DIR": folder, "WEB__API_PER_MINUTE": "100000"}
        environment = os.environ | {f"CARDLINE_{name}": value for name, value in settings.items()}
        environment.pop("CARDLINE_CONFIG", None)
        processes = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "agent.pageserver", str(listening.fileno())),
                stdin=asyncio.subprocess.PIPE,
                env=environment,
                pass_fds=[listening.fileno()],
            )
            for _ in range(min(os.cpu_count() or 1, 4))
        ]
        host, port = listening.getsockname()[:2]
        try:
            yield URL(f"http://{host}:{port}")
        finally:
            for one in processes:
                assert one.stdin is not None
                one.stdin.close()
            await asyncio.gather(*(one.wait() for one in processes))


async def _accounts(store: Store) -> dict[tuple[UserRole, int], tuple[str, int]]:
    """An account a client: login and, of a manager, his employee."""
    made = {}
    for place, role in enumerate(ROLES):
        login, employee = f"bench{place}", place % EMPLOYEES + 1
        async with store.begin() as connection:
            known = text("SELECT EXISTS (SELECT FROM account WHERE login = :login)")
            if not (await connection.execute(known, {"login": login})).scalar_one():
                of = employee if role is UserRole.MANAGER else None
                await accounts.insert_account(connection, login, login, PASSWORD, role, of)
        made[role, place] = (login, employee)
    return made


class Client:
    """Somebody who is logged in and waits for each page before asking for the next.

    Pages are asked for over one plain connection, head and body read as they come: a client that parses and keeps more
    takes as much of the two cores as the login of the page does, and it is not what is measured.
    """

    def __init__(self, base: URL, cookie: str, role: UserRole, employee: int) -> None:
        self._base, self.role, self.employee = base, role, employee
        self._head = f"Host: {base.host}:{base.port}\r\nAccept: text/html\r\nCookie: {cookie}\r\n\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @classmethod
    async def enter(cls, base: URL, role: UserRole, login: str, employee: int) -> Client:
        async with ClientSession(base_url=base, cookie_jar=CookieJar(unsafe=True)) as http:
            async with http.get("/login", headers={"Accept": "text/html"}) as answer:
                token = (await answer.text()).partition('name="csrf" value="')[2].partition('"')[0]
            form = {"login": login, "password": PASSWORD, "csrf": token, "next": "/"}
            async with http.post("/login", data=form, allow_redirects=False) as answer:
                assert answer.status == 303, answer.status
            cookies = http.cookie_jar.filter_cookies(base)
        cookie = "; ".join(f"{one.key}={one.value}" for one in cookies.values())
        return cls(base, cookie, role, employee)

    async def time(self, path: str) -> float:
        """Milliseconds until the whole page was there."""
        began = time.perf_counter()
        status, body = await self._get(path)
        assert status == b"HTTP/1.1 200 OK", (self.role, path, status)
        assert body.endswith(b"</html>") or b"</html>" in body[-20:], path
        return (time.perf_counter() - began) * 1000

    async def _get(self, path: str) -> tuple[bytes, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._base.host, self._base.port)
        reader, writer = self._streams
        writer.write(f"GET {URL(path).raw_path_qs} HTTP/1.1\r\n{self._head}".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        return head.partition(b"\r\n")[0], await reader.readexactly(int(length))

    def close(self) -> None:
        """Leave."""
        if self._streams is not None:
            self._streams[1].close()


async def _measure(world: PagesWorld, store: Store, clients: Sequence[Client], *, cards_only: bool) -> dict[str, Any]:
    chosen = random.Random(8)
    cards = [1, *(chosen.randint(2, world.size.cards) for _ in range(CARDS - 1))]
    calls = await _calls(store, cards)
    paths: dict[str, dict[int, list[str]]] = {"card": {}, "call": {}, "search": {}}
    asked = [f"/find?q={word}" for word in (*world.common_words(), *RARE, *_questions(world))]
    for client in clients:
        own = cards
        if client.role is UserRole.MANAGER:
            own = [one for one in range(1, world.size.cards + 1) if one % EMPLOYEES + 1 == client.employee][:CARDS]
        paths["card"][id(client)] = [f"/cards/{one}" for one in own]
        mine = [number for number, card, employee in calls if client.role is not UserRole.MANAGER]
        mine = mine or await _calls_of(store, own)
        paths["call"][id(client)] = [f"/interactions/{one}" for one in mine]
        paths["search"][id(client)] = asked
    found: dict[str, Any] = {}
    for kind in ("card",) if cards_only else ("card", "call", "search"):
        await _round(clients[:2], paths[kind], WARM)
        alone = await _round(clients[:1], paths[kind], ROUNDS // 8)
        times = await _round(clients, paths[kind], ROUNDS)
        found |= _figures(kind, times)
        found[f"{kind}_alone_p50"] = round(_quantile([one[1] for one in alone], 0.5), 1)
        print({name: value for name, value in found.items() if name.startswith(kind)}, flush=True)
    found["load"] = round(os.getloadavg()[0], 1)
    return found


def _questions(world: PagesWorld) -> list[str]:
    number = f"{world.size.cards // 2 * 449:07}"[-6:]
    return ['"добрый день"', "договор -скидка", "доставка завтра", "мебель гарантия склад", number, "смир*", "Ольга"]


async def _calls(store: Store, cards: Sequence[int]) -> list[tuple[int, int, int]]:
    query = text(
        "SELECT max(l.interaction_id) AS id, l.client_card_id FROM link l JOIN recording r USING (interaction_id)"
        " WHERE l.client_card_id = ANY(:cards) GROUP BY l.client_card_id, l.interaction_id % 3"
    )
    async with store.begin() as connection:
        return [(row.id, row.client_card_id, 0) for row in await connection.execute(query, {"cards": list(cards)})]


async def _calls_of(store: Store, cards: Sequence[int]) -> list[int]:
    return [one[0] for one in await _calls(store, cards[:40])]


async def _round(clients: Sequence[Client], paths: dict[int, list[str]], count: int) -> list[tuple[UserRole, float]]:
    """``count`` pages by all clients together, at once."""
    times: list[tuple[UserRole, float]] = []

    async def work(client: Client, seed: int) -> None:
        own = random.Random(seed)
        for _ in range(max(count // len(clients), 1)):
            times.append((client.role, await client.time(own.choice(paths[id(client)]))))

    await asyncio.gather(*(work(client, seed) for seed, client in enumerate(clients)))
    return times


def _figures(kind: str, times: Sequence[tuple[UserRole, float]]) -> dict[str, Any]:
    every = [one[1] for one in times]
    found: dict[str, Any] = {f"{kind}_p50": round(_quantile(every, 0.5), 1)}
    found[f"{kind}_p95"] = round(_quantile(every, 0.95), 1)
    for role in dict.fromkeys(ROLES):
        found[f"{kind}_{role.value}_p95"] = round(_quantile([one[1] for one in times if one[0] is role], 0.95), 1)
    return found


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]
