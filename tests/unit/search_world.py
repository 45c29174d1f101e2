"""Things that were said and written, stored directly, for the tests of finding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from agent.model import UserRole
from agent.store import search, searching
from agent.store.engine import Store
from agent.store.rights import Viewer
from agent.store.searchindex import Indexer
from agent.store.searching import Filters, Found
from agent.store.searchquery import parse_query

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ADMINISTRATOR = Viewer(account_id=1, role=UserRole.ADMINISTRATOR, employee_id=None)


class SearchWorld:
    """Makes interactions; every one is an hour older than the one before."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._made = 0

    async def one(self, connection: AsyncConnection, sql: str, **values: Any) -> int:
        """A row; returns its id."""
        return int((await connection.execute(text(sql), values)).scalar_one())

    async def employee(self, name: str) -> int:
        async with self.store.begin() as connection:
            return await self.one(connection, "INSERT INTO employee (name) VALUES (:name) RETURNING id", name=name)

    async def card(self, name: str, *phones: str, responsible: int | None = None) -> int:
        async with self.store.begin() as connection:
            sql = "INSERT INTO client_card (name, responsible_id) VALUES (:name, :responsible) RETURNING id"
            number = await self.one(connection, sql, name=name, responsible=responsible)
            for phone in phones:
                sql = "INSERT INTO contact_point (client_card_id, kind, value) VALUES (:card, 'phone', :value)"
                await connection.execute(text(sql), {"card": number, "value": phone})
            return number

    async def interaction(
        self,
        kind: str,
        *,
        parties: Sequence[tuple[str, str, int | None]],
        direction: str = "inbound",
        card: int | None = None,
        state: str = "linked",
        started: datetime | None = None,
    ) -> int:
        """``parties``: name, number or address, employee."""
        self._made += 1
        at = started or NOON - timedelta(hours=self._made)
        async with self.store.begin() as connection:
            sql = "INSERT INTO interaction (kind, started_at, direction) VALUES (:kind, :at, :way) RETURNING id"
            number = await self.one(connection, sql, kind=kind, at=at, way=direction)
            for ordinal, (name, value, employee) in enumerate(parties):
                what = "address" if "@" in value else "extension" if len(value) < 5 else "phone"
                sql = """INSERT INTO party (interaction_id, ordinal, position, kind, value, name, identity_kind,
                         identity_value, role, employee_id)
                         VALUES (:of, :ordinal, 'caller', :kind, :value, :name, :kind, :value, :role, :employee)"""
                values = {"of": number, "ordinal": ordinal, "kind": what, "value": value, "name": name}
                role = "client" if employee is None else "employee"
                await connection.execute(text(sql), values | {"role": role, "employee": employee})
            sql = """INSERT INTO link (interaction_id, client_card_id, started_at, state, reason)
                     VALUES (:of, :card, :at, :state, 'a test')"""
            await connection.execute(text(sql), {"of": number, "card": card, "at": at, "state": state})
            return number

    async def call(self, *said: str, talk: int = 60, phone: str = "+74950000011", name: str = "", **more: Any) -> int:
        """A call in which this was said, a line every ten seconds."""
        employee = more.pop("employee", None)
        parties = [(name, phone, None)] + ([("", "101", employee)] if employee else [])
        number = await self.interaction("call", parties=parties, **more)
        async with self.store.begin() as connection:
            sql = """INSERT INTO call (interaction_id, answered_at, ended_at, disposition)
                     SELECT id, started_at, started_at + make_interval(secs => :talk), 'answered' FROM interaction
                     WHERE id = :of"""
            await connection.execute(text(sql), {"of": number, "talk": talk})
            if said:
                await self.say(connection, number, said)
        return number

    async def say(self, connection: AsyncConnection, number: int, said: Sequence[str]) -> None:
        """A recording with a transcript."""
        sql = """INSERT INTO blob (name, media_type, plain_size, stored_size, salted_digest, master_key, source)
                 VALUES (:name, 'audio/flac', 1, 1, '', 1, 'test') RETURNING id"""
        blob = await self.one(connection, sql, name=f"{number:064x}")
        sql = """INSERT INTO recording (interaction_id, reference, blob_id, started_at, duration_ms, channels,
                 sample_rate) SELECT id, 'r', :blob, started_at, 60000, 2, 8000 FROM interaction WHERE id = :of
                 RETURNING id"""
        recording = await self.one(connection, sql, of=number, blob=blob)
        sql = """INSERT INTO transcript (recording_id, interaction_id, model) VALUES (:recording, :of, 'm')
                 RETURNING id"""
        transcript = await self.one(connection, sql, recording=recording, of=number)
        for place, line in enumerate(said):
            sql = """INSERT INTO utterance (transcript_id, channel, start_ms, end_ms, text, confidence)
                     VALUES (:of, :channel, :start, :end, :line, 90)"""
            values = {"of": transcript, "channel": place % 2, "start": place * 10_000, "end": place * 10_000 + 5_000}
            await connection.execute(text(sql), values | {"line": line})

    async def mail(
        self,
        subject: str,
        words: str,
        *,
        spans: Sequence[tuple[str, int, int]] = (),
        files: Sequence[tuple[str, str]] = (),
        category: str = "conversation",
        tags: Sequence[tuple[str, str]] = (),
        sender: tuple[str, str] = ("Мария", "maria@client.example.org"),
        employee: int | None = None,
        **more: Any,
    ) -> int:
        """A mail; ``files`` are names and words of attached files."""
        parties = [(*sender, None), ("", "anna@example.com", employee)]
        number = await self.interaction("message", parties=parties, **more)
        async with self.store.begin() as connection:
            thread = await self.one(connection, "INSERT INTO thread (subject) VALUES ('') RETURNING id")
            sql = """INSERT INTO message (interaction_id, logical_key, thread_id, subject, category, text, spans, tags)
                     VALUES (:of, :key, :thread, :subject, :category, :words, :spans, :tags)"""
            values = {"of": number, "key": f"k{number}", "thread": thread, "subject": subject, "category": category}
            values |= {"words": words, "spans": json.dumps(spans), "tags": json.dumps(tags)}
            await connection.execute(text(sql), values)
            for part, (name, content) in enumerate(files):
                sql = """INSERT INTO attachment (interaction_id, part, name, media_type, size, sha256, text, text_state)
                         VALUES (:of, :part, :name, 'application/pdf', 1, 'x', :content, 'read')"""
                await connection.execute(text(sql), {"of": number, "part": part, "name": name, "content": content})
        return number

    async def index(self) -> None:
        """Everything, as the job does it."""
        async with self.store.begin() as connection:
            await search.refill(connection)
        await Indexer(self.store).index()

    async def find(self, typed: str, viewer: Viewer = ADMINISTRATOR, **filters: Any) -> Found:
        async with self.store.begin() as connection:
            question = await searching.ask(connection, parse_query(typed))
            return await searching.find(connection, viewer, question, Filters(**filters))

    async def ids(self, typed: str, viewer: Viewer = ADMINISTRATOR, **filters: Any) -> list[int]:
        """The interactions found, in no order."""
        found = await self.find(typed, viewer, **filters)
        return sorted({one.interaction_id for one in found.hits if one.interaction_id is not None})
