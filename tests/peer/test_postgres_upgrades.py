"""Clusters of the embedded PostgreSQL that were half made, or made by an older version."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import psycopg
import pytest

from agent.errors import CardlineError, DatabaseUnavailable, Misconfigured
from agent.store import postgres
from agent.store.embedded import Binaries, Cluster, OperatingUser
from agent.store.migrate import migrate
from agent.store.postgres import EmbeddedPostgres, dump_database
from tests.peer.postgres_lab import (
    REPOSITORY,
    ROWS,
    SERVE,
    count_rows,
    data_dir,
    running,
    until,
    write_rows,
)

__all__ = ["data_dir"]


async def test_a_cluster_whose_making_was_killed_is_made_anew(data_dir: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, str(data_dir), stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    cluster = data_dir / "postgres" / str(Binaries().newest)
    await until((cluster / "PG_VERSION").exists)
    process.kill()
    await process.wait()
    assert not (cluster / "cardline.ready").exists()
    async with running(data_dir) as server:
        await asyncio.to_thread(write_rows, server.url)
    async with running(data_dir) as server:
        assert await asyncio.to_thread(count_rows, server.url) == ROWS


async def _make_old(data_dir: Path) -> Path:
    """A cluster of the oldest version in the wheel, as an earlier Cardline left it; its folder."""
    binaries = Binaries()
    oldest = min(binaries._folders)
    if oldest == binaries.newest:
        pytest.skip("the wheel brings one version of PostgreSQL only")
    root = data_dir / "postgres"
    root.mkdir(mode=0o711, exist_ok=True)
    old = Cluster(root / str(oldest), binaries.folder(oldest), OperatingUser(), log_file=root / "postgres.log")
    await asyncio.to_thread(old.create)
    await asyncio.to_thread(old.mark_ready)
    old.start()
    await old.wait_ready()
    await migrate(old.url)
    await asyncio.to_thread(write_rows, old.url)
    await asyncio.to_thread(old.stop)
    return old.folder


async def _assert_upgraded(data_dir: Path) -> None:
    async with running(data_dir) as server:
        assert await asyncio.to_thread(count_rows, server.url) == ROWS
        with psycopg.connect(server.url) as connection:
            row = connection.execute("SHOW server_version_num").fetchone()
        assert row is not None
        assert int(row[0]) // 10000 == Binaries().newest
        await migrate(server.url)


async def test_an_older_cluster_is_carried_over_once(data_dir: Path) -> None:
    old = await _make_old(data_dir)
    await _assert_upgraded(data_dir)
    assert (old / "cardline.ready").exists()
    dump = old.with_suffix(".dump")
    assert dump.stat().st_mode & 0o777 == 0o600
    dump.unlink()
    await _assert_upgraded(data_dir)
    assert not dump.exists()


@pytest.mark.parametrize(
    "moment", ["while dumping", "after the dump", "after initdb", "while loading", "before the mark"]
)
async def test_an_upgrade_that_is_cut_off_starts_over(
    moment: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*arguments: object, **more: object) -> None:
        raise Killed

    await _make_old(data_dir)
    real_run, real_create = postgres._run_pg, Cluster.create

    def run(program: Path, url: str, arguments: list[str]) -> None:
        if program.name == "pg_dump" and moment == "while dumping":
            Path(arguments[-1].removeprefix("--file=")).write_bytes(b"PGDMP half")
            die()
        if program.name == "pg_restore" and moment == "while loading":
            real_run(program, url, ["--section=pre-data", *arguments])
            die()
        real_run(program, url, arguments)

    def create(cluster: Cluster) -> None:
        if moment == "after the dump":
            die()
        real_create(cluster)
        if moment == "after initdb":
            die()

    with monkeypatch.context() as patch:
        patch.setattr(postgres, "_run_pg", run)
        patch.setattr(Cluster, "create", create)
        if moment == "before the mark":
            patch.setattr(Cluster, "mark_ready", die)
        with pytest.raises(Killed):
            await EmbeddedPostgres(data_dir).start()
    await _assert_upgraded(data_dir)


async def test_an_upgrade_whose_process_is_killed_while_loading(data_dir: Path) -> None:
    await _make_old(data_dir)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, str(data_dir), stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    newest = data_dir / "postgres" / str(Binaries().newest)
    await until((newest / "global" / "pg_control").exists)
    await until((newest / "postmaster.pid").exists)
    process.kill()
    await process.wait()
    await _assert_upgraded(data_dir)


async def test_a_dump_that_cannot_be_loaded_leaves_the_old_cluster(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _make_old(data_dir)
    real = postgres._run_pg

    def run(program: Path, url: str, arguments: list[str]) -> None:
        if program.name == "pg_restore":
            Path(arguments[-1]).write_bytes(b"PGDMP damaged")
        real(program, url, arguments)

    with monkeypatch.context() as patch:
        patch.setattr(postgres, "_run_pg", run)
        with pytest.raises(CardlineError, match="pg_restore failed"):
            await EmbeddedPostgres(data_dir).start()
    await _assert_upgraded(data_dir)


async def test_a_half_made_older_cluster_is_no_cluster(data_dir: Path) -> None:
    folder = data_dir / "postgres" / "16"
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("16\n")
    async with running(data_dir) as server:
        await asyncio.to_thread(write_rows, server.url)


async def test_a_newer_cluster_is_not_passed_over(data_dir: Path) -> None:
    folder = data_dir / "postgres" / "99"
    folder.mkdir(parents=True)
    for name in ("PG_VERSION", "cardline.ready"):
        (folder / name).write_text("99\n")
    with pytest.raises(Misconfigured, match="made by PostgreSQL 99"):
        await EmbeddedPostgres(data_dir).start()
    assert {path.name for path in (data_dir / "postgres").iterdir()} == {"99", "lock"}


async def test_a_dump_by_hand_is_private(data_dir: Path, tmp_path: Path) -> None:
    async with running(data_dir) as server:
        await asyncio.to_thread(write_rows, server.url)
        await dump_database(server.url, tmp_path / "all.dump")
        with pytest.raises(DatabaseUnavailable, match="pg_dump failed"):
            await dump_database(server.url, tmp_path / "no" / "folder.dump")
    assert (tmp_path / "all.dump").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "all.dump").read_bytes().startswith(b"PGDMP")
