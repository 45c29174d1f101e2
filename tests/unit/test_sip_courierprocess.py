"""The courier's process: calls reach the database through it, and it may die at any time."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from agent.sip.courierprocess import CourierProcess
from agent.sip.journal import CLOSED, OPENED, STREAM, Journal
from agent.store.engine import Store
from tests.unit.sip_peers import DATA, until

INVITE = (DATA / "siprec" / "opensips-4.1-rtpengine-invite.sip").read_bytes()


@pytest.fixture
async def courier(store: Store, tmp_path: Path) -> AsyncIterator[CourierProcess]:
    config = tmp_path / "cardline.toml"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\nhost = "test"\n')
    environment = {"CARDLINE_CONFIG": str(config), "CARDLINE_DATABASE__URL": store.url}
    process = CourierProcess(captures(tmp_path), environment=environment)
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


def captures(folder: Path) -> Path:
    return folder / "data" / "captures"


def begin(folder: Path, key: str) -> Journal:
    journal = Journal.create(captures(folder))
    journal.write(OPENED, raw=INVITE, source="siprec", key=key)
    journal.write(STREAM, index=0, label="1", active=True, codecs={}, parameters={})
    return journal


async def disposition(store: Store, key: str) -> str | None:
    query = "SELECT disposition FROM evidence JOIN call USING (interaction_id) WHERE source = 'siprec' AND key = :key"
    async with store.begin() as connection:
        return (await connection.execute(text(query), {"key": key})).scalar()


async def until_known(store: Store, key: str, wanted: str) -> None:
    async with asyncio.timeout(30):
        while await disposition(store, key) != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_call_goes_its_way(store: Store, courier: CourierProcess, tmp_path: Path) -> None:
    journal = begin(tmp_path, "way")
    courier.tell(journal.capture_id)
    await until_known(store, "way", "in_progress")
    assert courier.waiting == 1
    journal.write(CLOSED, by="client")
    courier.tell_ended(journal.capture_id)
    assert await courier.drain(20)
    assert await disposition(store, "way") == "answered" and courier.waiting == 0


async def test_one_that_dies_is_replaced_and_told_everything_anew(
    store: Store, courier: CourierProcess, tmp_path: Path
) -> None:
    going, ended = begin(tmp_path, "going"), begin(tmp_path, "ended")
    courier.tell(going.capture_id)
    await until_known(store, "going", "in_progress")
    first = courier.pid
    assert first
    os.kill(first, signal.SIGKILL)
    ended.write(CLOSED, by="client")
    courier.tell_ended(ended.capture_id)  # while nobody is there to hear it
    await until(lambda: courier.pid not in (None, first), 30)
    await until_known(store, "ended", "answered")
    going.write(CLOSED, by="client")
    courier.tell_ended(going.capture_id)
    assert await courier.drain(20)
    assert await disposition(store, "going") == "answered"


async def test_what_a_crash_left_is_found_once(store: Store, courier: CourierProcess, tmp_path: Path) -> None:
    now = begin(tmp_path, "now")
    courier.tell(now.capture_id)
    begin(tmp_path, "crashed")
    assert await courier.recover() == 1
    await until_known(store, "crashed", "answered")
    await until_known(store, "now", "in_progress")  # a call that goes on is not ended by it
    os.kill(courier.pid or 0, signal.SIGTERM)  # systemd tells all of a service; the courier leaves with its parent
    now.write(CLOSED, by="client")
    courier.tell_ended(now.capture_id)
    assert await courier.drain(20)


async def test_it_leaves_with_its_parent(courier: CourierProcess) -> None:
    assert courier._process and courier._process.stdin
    courier._process.stdin.close()  # what the kernel does when the parent is killed
    async with asyncio.timeout(20):
        assert await courier._process.wait() == 0
