"""The real PostgreSQL of the wheel, run by us: private, gone when we are gone, back with every committed row."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from agent.errors import DatabaseUnavailable, Misconfigured
from agent.store import embedded
from agent.store.embedded import Binaries
from agent.store.engine import Store
from agent.store.migrate import migrate
from agent.store.postgres import EmbeddedPostgres, running_url
from tests.peer.postgres_lab import (
    ROWS,
    count_rows,
    data_dir,
    postmaster,
    running,
    serve,
    until_gone,
    write_rows,
)

__all__ = ["data_dir"]

# --- What it says ---------------------------------------------------------------------------------------------------


async def test_a_server_that_cannot_start_says_why(data_dir: Path) -> None:
    """Its last line is that it has shut down; the reason stands above, and below those of earlier runs."""
    async with running(data_dir):
        pass
    root = data_dir / "postgres"
    for segment in (root / str(Binaries().newest) / "pg_wal").glob("0*"):
        segment.unlink()
    with pytest.raises(DatabaseUnavailable, match=r"PANIC: .*checkpoint record.*postgres\.log"):
        await EmbeddedPostgres(data_dir).start()
    assert (root / "postgres.log").read_text().rstrip().endswith("database system is shut down")


# --- Where and for whom ---------------------------------------------------------------------------------------------


async def test_nobody_else_gets_in(data_dir: Path) -> None:
    data_dir.chmod(0o755)
    async with running(data_dir) as server:
        await asyncio.to_thread(write_rows, server.url)
        root = data_dir / "postgres"
        assert (root / "run").stat().st_mode & 0o777 == 0o700
        (socket,) = (path for path in (root / "run").iterdir() if path.is_socket())
        assert socket.stat().st_mode & 0o777 == 0o700
        assert (root / str(Binaries().newest)).stat().st_mode & 0o777 == 0o700
        assert (root / "postgres.log").stat().st_mode & 0o777 == 0o600
        with psycopg.connect(server.url) as connection:
            shown = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in ("listen_addresses", "fsync")]
        assert shown == [("",), ("on",)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("user", ["daemon", "nobody"])
async def test_another_user_of_this_machine_is_refused(user: str, data_dir: Path) -> None:
    """Even the user under whom the server itself runs, and even with the socket's folder open."""
    data_dir.chmod(0o755)
    entry = pwd.getpwnam(user)
    script = (
        f"import os, ctypes; os.setgid({entry.pw_gid}); os.setuid({entry.pw_uid}); import psycopg, sys\n"
        "try: psycopg.connect(sys.argv[1])\nexcept psycopg.OperationalError as error: print(error); sys.exit(3)"
    )

    def attempt(url: str) -> subprocess.CompletedProcess[str]:
        # psycopg is imported before the user changes, since its folder may be closed to others
        early = script.replace("import os, ctypes", "import os, psycopg")
        return subprocess.run([sys.executable, "-c", early, url], capture_output=True, text=True, check=False)

    async with running(data_dir) as server:
        refused = await asyncio.to_thread(attempt, server.url)
        assert refused.returncode == 3, refused.stderr
        (data_dir / "postgres" / "run").chmod(0o755)
        for socket in (data_dir / "postgres" / "run").iterdir():
            socket.chmod(0o777)
        refused = await asyncio.to_thread(attempt, server.url)
        assert refused.returncode == 3, refused.stderr
        assert "authentication failed" in refused.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="as root the server runs under another user")
async def test_root_runs_it_as_somebody_else_inside_a_folder_for_root_alone(data_dir: Path) -> None:
    inner = data_dir / "closed" / "deeper"
    inner.mkdir(parents=True, mode=0o700)
    async with running(inner) as server:
        pid = postmaster(inner)
        assert Path(f"/proc/{pid}").stat().st_uid != 0
        await asyncio.to_thread(write_rows, server.url)
    async with running(inner) as server:
        assert await asyncio.to_thread(count_rows, server.url) == ROWS
    assert data_dir.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "name", ["Отдел продаж 100%", "a,b 'c' \"d\" +e&f?g#h", "длинный-" * 12], ids=["cyrillic", "signs", "long"]
)
async def test_folders_with_difficult_names(name: str, data_dir: Path) -> None:
    folder = data_dir / name
    folder.mkdir()
    async with running(folder) as server:
        await migrate(server.url)
        store = Store(server.url)
        async with store.begin() as connection:
            await connection.exec_driver_sql("SELECT 1")
        await store.close()
        assert running_url(folder) == server.url
    async with running(folder) as server:
        await migrate(server.url)


async def test_a_relative_folder(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data_dir)
    async with running(Path("data")) as server:
        await asyncio.to_thread(write_rows, server.url)
    async with running(data_dir / "data") as server:
        assert await asyncio.to_thread(count_rows, server.url) == ROWS


async def test_the_environment_does_not_matter(data_dir: Path) -> None:
    process, pid, url = await serve(
        data_dir, LANG="ru_RU.KOI8-R", LC_ALL="ru_RU.KOI8-R", LC_COLLATE="xx", PGPORT="1", PGDATABASE="nothing",
        PGUSER="stranger", PGHOST="/nonexistent", PGDATA="/nonexistent",
    )  # fmt: skip
    try:
        await asyncio.to_thread(write_rows, url)
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT datlocprovider, datlocale, pg_encoding_to_char(encoding), lower('ЁЖ') FROM pg_database "
                "WHERE datname = current_database()"
            ).fetchone()
        assert row == ("b", "C.UTF-8", "UTF8", "ёж")
    finally:
        process.kill()
        await process.wait()
    await until_gone(pid)


# --- Ends of all kinds ----------------------------------------------------------------------------------------------


async def test_a_killed_server_comes_back_with_every_committed_row(data_dir: Path) -> None:
    async with running(data_dir) as server:
        for round_number in range(2):
            await asyncio.to_thread(write_rows, server.url, f"kept_{round_number}")
            before = postmaster(data_dir)
            os.kill(before, signal.SIGKILL)
            await until_gone(before)
            async with asyncio.timeout(60):
                while True:
                    with contextlib.suppress(psycopg.OperationalError):
                        assert await asyncio.to_thread(count_rows, server.url, f"kept_{round_number}") == ROWS
                        break
                    await asyncio.sleep(0.1)
            assert postmaster(data_dir) != before


async def test_a_killed_parent_takes_the_server_with_it(data_dir: Path) -> None:
    process, pid, url = await serve(data_dir)
    await asyncio.to_thread(write_rows, url)
    process.kill()
    await process.wait()
    await until_gone(pid)
    async with running(data_dir) as server:
        assert await asyncio.to_thread(count_rows, server.url) == ROWS


async def test_the_next_one_may_start_at_once(data_dir: Path) -> None:
    """The server of the killed one may still be on its way out."""
    process, _, url = await serve(data_dir)
    await asyncio.to_thread(write_rows, url)
    holder = psycopg.connect(url)
    process.kill()
    await process.wait()
    async with running(data_dir) as server:
        assert await asyncio.to_thread(count_rows, server.url) == ROWS
    holder.close()


async def test_both_killed_at_once(data_dir: Path) -> None:
    process, pid, url = await serve(data_dir)
    await asyncio.to_thread(write_rows, url)
    process.send_signal(signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    process.kill()
    await process.wait()
    await until_gone(pid)
    async with running(data_dir) as server:
        assert await asyncio.to_thread(count_rows, server.url) == ROWS


async def test_a_stale_pid_file_that_names_somebody_else_harms_nobody(data_dir: Path) -> None:
    async with running(data_dir):
        pass
    uid = (data_dir / "postgres" / str(Binaries().newest)).stat().st_uid  # PostgreSQL itself would believe this one
    bystander = await asyncio.create_subprocess_exec("sleep", "600", user=uid)
    cluster = data_dir / "postgres" / str(Binaries().newest)
    (cluster / "postmaster.pid").write_text(f"{bystander.pid}\n{cluster}\n1\n5432\n\n\n\n")
    try:
        async with running(data_dir) as server:
            await asyncio.to_thread(write_rows, server.url)
        assert bystander.returncode is None
    finally:
        bystander.kill()
        await bystander.wait()


async def test_two_services_in_one_folder(data_dir: Path) -> None:
    async with running(data_dir) as server:
        second = EmbeddedPostgres(data_dir)
        with pytest.raises(Misconfigured, match="Another Cardline already runs"):
            await second.start()
        await second.stop()
        assert running_url(data_dir) == server.url
        await asyncio.to_thread(write_rows, server.url)
    assert running_url(data_dir) is None
    async with running(data_dir) as server:
        assert await asyncio.to_thread(count_rows, server.url) == ROWS


async def test_a_failed_start_lets_the_next_one_in(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(data_dir) as server:
        await asyncio.to_thread(write_rows, server.url)
    with monkeypatch.context() as patch:
        patch.setitem(embedded._OPTIONS, "max_connections", "none")
        with pytest.raises(DatabaseUnavailable, match="max_connections"):
            await EmbeddedPostgres(data_dir).start()
    async with running(data_dir) as server:
        assert await asyncio.to_thread(count_rows, server.url) == ROWS
