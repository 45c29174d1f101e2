"""The real PostgreSQL of the wheel, run by us: private, gone when we are gone, back with every committed row."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from agent.errors import CardlineError, DatabaseUnavailable, Misconfigured
from agent.store import embedded, postgres
from agent.store.embedded import Binaries, Cluster, OperatingUser
from agent.store.engine import Store
from agent.store.migrate import migrate
from agent.store.postgres import EmbeddedPostgres, dump_database, running_url

_REPOSITORY = Path(__file__).parents[2]
_ROWS = 500

_SERVE = """
import asyncio, pathlib, sys
from agent.store.postgres import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(pathlib.Path(sys.argv[1]))
    await server.start()
    print(server._cluster._process.pid, server.url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A short path of its own, into which only its owner may enter."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o700)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _running(data_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data_dir)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def _write(url: str, table: str = "kept", rows: int = _ROWS) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (number integer, words text)".encode())
        connection.execute(f"INSERT INTO {table} SELECT n, 'Слово ' || n FROM generate_series(1, {rows}) n".encode())


def _count(url: str, table: str = "kept") -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT count(DISTINCT words) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def _postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / str(Binaries().newest) / "postmaster.pid").read_text().splitlines()[0])


def _is_alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def _until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not what():  # noqa: ASYNC110 - other processes set no events
            await asyncio.sleep(0.02)


async def _until_gone(pid: int) -> None:
    await _until(lambda: not _is_alive(pid))


async def _serve(data_dir: Path, **environment: str) -> tuple[asyncio.subprocess.Process, int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SERVE, str(data_dir), stdout=asyncio.subprocess.PIPE, cwd=_REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(_REPOSITORY), **environment},
    )  # fmt: skip
    assert process.stdout is not None
    words = (await process.stdout.readline()).decode().split()
    return process, int(words[0]), words[1]


# --- Where and for whom ---------------------------------------------------------------------------------------------


async def test_nobody_else_gets_in(data_dir: Path) -> None:
    data_dir.chmod(0o755)
    async with _running(data_dir) as server:
        await asyncio.to_thread(_write, server.url)
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

    async with _running(data_dir) as server:
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
    async with _running(inner) as server:
        pid = _postmaster(inner)
        assert Path(f"/proc/{pid}").stat().st_uid != 0
        await asyncio.to_thread(_write, server.url)
    async with _running(inner) as server:
        assert await asyncio.to_thread(_count, server.url) == _ROWS
    assert data_dir.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "name", ["Отдел продаж 100%", "a,b 'c' \"d\" +e&f?g#h", "длинный-" * 12], ids=["cyrillic", "signs", "long"]
)
async def test_folders_with_difficult_names(name: str, data_dir: Path) -> None:
    folder = data_dir / name
    folder.mkdir()
    async with _running(folder) as server:
        await migrate(server.url)
        store = Store(server.url)
        async with store.begin() as connection:
            await connection.exec_driver_sql("SELECT 1")
        await store.close()
        assert running_url(folder) == server.url
    async with _running(folder) as server:
        await migrate(server.url)


async def test_a_relative_folder(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data_dir)
    async with _running(Path("data")) as server:
        await asyncio.to_thread(_write, server.url)
    async with _running(data_dir / "data") as server:
        assert await asyncio.to_thread(_count, server.url) == _ROWS


async def test_the_environment_does_not_matter(data_dir: Path) -> None:
    process, pid, url = await _serve(
        data_dir, LANG="ru_RU.KOI8-R", LC_ALL="ru_RU.KOI8-R", LC_COLLATE="xx", PGPORT="1", PGDATABASE="nothing",
        PGUSER="stranger", PGHOST="/nonexistent", PGDATA="/nonexistent",
    )  # fmt: skip
    try:
        await asyncio.to_thread(_write, url)
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT datlocprovider, datlocale, pg_encoding_to_char(encoding), lower('ЁЖ') FROM pg_database "
                "WHERE datname = current_database()"
            ).fetchone()
        assert row == ("b", "C.UTF-8", "UTF8", "ёж")
    finally:
        process.kill()
        await process.wait()
    await _until_gone(pid)


# --- Ends of all kinds ----------------------------------------------------------------------------------------------


async def test_a_killed_server_comes_back_with_every_committed_row(data_dir: Path) -> None:
    async with _running(data_dir) as server:
        for round_number in range(2):
            await asyncio.to_thread(_write, server.url, f"kept_{round_number}")
            before = _postmaster(data_dir)
            os.kill(before, signal.SIGKILL)
            await _until_gone(before)
            async with asyncio.timeout(60):
                while True:
                    with contextlib.suppress(psycopg.OperationalError):
                        assert await asyncio.to_thread(_count, server.url, f"kept_{round_number}") == _ROWS
                        break
                    await asyncio.sleep(0.1)
            assert _postmaster(data_dir) != before


async def test_a_killed_parent_takes_the_server_with_it(data_dir: Path) -> None:
    process, pid, url = await _serve(data_dir)
    await asyncio.to_thread(_write, url)
    process.kill()
    await process.wait()
    await _until_gone(pid)
    async with _running(data_dir) as server:
        assert await asyncio.to_thread(_count, server.url) == _ROWS


async def test_the_next_one_may_start_at_once(data_dir: Path) -> None:
    """The server of the killed one may still be on its way out."""
    process, _, url = await _serve(data_dir)
    await asyncio.to_thread(_write, url)
    holder = psycopg.connect(url)
    process.kill()
    await process.wait()
    async with _running(data_dir) as server:
        assert await asyncio.to_thread(_count, server.url) == _ROWS
    holder.close()


async def test_both_killed_at_once(data_dir: Path) -> None:
    process, pid, url = await _serve(data_dir)
    await asyncio.to_thread(_write, url)
    process.send_signal(signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    process.kill()
    await process.wait()
    await _until_gone(pid)
    async with _running(data_dir) as server:
        assert await asyncio.to_thread(_count, server.url) == _ROWS


async def test_a_stale_pid_file_that_names_somebody_else_harms_nobody(data_dir: Path) -> None:
    async with _running(data_dir):
        pass
    uid = (data_dir / "postgres" / str(Binaries().newest)).stat().st_uid  # PostgreSQL itself would believe this one
    bystander = await asyncio.create_subprocess_exec("sleep", "600", user=uid)
    cluster = data_dir / "postgres" / str(Binaries().newest)
    (cluster / "postmaster.pid").write_text(f"{bystander.pid}\n{cluster}\n1\n5432\n\n\n\n")
    try:
        async with _running(data_dir) as server:
            await asyncio.to_thread(_write, server.url)
        assert bystander.returncode is None
    finally:
        bystander.kill()
        await bystander.wait()


async def test_two_services_in_one_folder(data_dir: Path) -> None:
    async with _running(data_dir) as server:
        second = EmbeddedPostgres(data_dir)
        with pytest.raises(Misconfigured, match="Another Cardline already runs"):
            await second.start()
        await second.stop()
        assert running_url(data_dir) == server.url
        await asyncio.to_thread(_write, server.url)
    assert running_url(data_dir) is None
    async with _running(data_dir) as server:
        assert await asyncio.to_thread(_count, server.url) == _ROWS


async def test_a_failed_start_lets_the_next_one_in(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _running(data_dir) as server:
        await asyncio.to_thread(_write, server.url)
    with monkeypatch.context() as patch:
        patch.setitem(embedded._OPTIONS, "max_connections", "none")
        with pytest.raises(DatabaseUnavailable, match="max_connections"):
            await EmbeddedPostgres(data_dir).start()
    async with _running(data_dir) as server:
        assert await asyncio.to_thread(_count, server.url) == _ROWS


# --- Half-made and older clusters -----------------------------------------------------------------------------------


async def test_a_cluster_whose_making_was_killed_is_made_anew(data_dir: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SERVE, str(data_dir), stdout=asyncio.subprocess.PIPE, cwd=_REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
    )  # fmt: skip
    cluster = data_dir / "postgres" / str(Binaries().newest)
    await _until((cluster / "PG_VERSION").exists)
    process.kill()
    await process.wait()
    assert not (cluster / "cardline.ready").exists()
    async with _running(data_dir) as server:
        await asyncio.to_thread(_write, server.url)
    async with _running(data_dir) as server:
        assert await asyncio.to_thread(_count, server.url) == _ROWS


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
    await asyncio.to_thread(_write, old.url)
    await asyncio.to_thread(old.stop)
    return old.folder


async def _assert_upgraded(data_dir: Path) -> None:
    async with _running(data_dir) as server:
        assert await asyncio.to_thread(_count, server.url) == _ROWS
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
        sys.executable, "-c", _SERVE, str(data_dir), stdout=asyncio.subprocess.PIPE, cwd=_REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
    )  # fmt: skip
    newest = data_dir / "postgres" / str(Binaries().newest)
    await _until((newest / "global" / "pg_control").exists)
    await _until((newest / "postmaster.pid").exists)
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
    async with _running(data_dir) as server:
        await asyncio.to_thread(_write, server.url)


async def test_a_newer_cluster_is_not_passed_over(data_dir: Path) -> None:
    folder = data_dir / "postgres" / "99"
    folder.mkdir(parents=True)
    for name in ("PG_VERSION", "cardline.ready"):
        (folder / name).write_text("99\n")
    with pytest.raises(Misconfigured, match="made by PostgreSQL 99"):
        await EmbeddedPostgres(data_dir).start()
    assert {path.name for path in (data_dir / "postgres").iterdir()} == {"99", "lock"}


async def test_a_dump_by_hand_is_private(data_dir: Path, tmp_path: Path) -> None:
    async with _running(data_dir) as server:
        await asyncio.to_thread(_write, server.url)
        await dump_database(server.url, tmp_path / "all.dump")
        with pytest.raises(DatabaseUnavailable, match="pg_dump failed"):
            await dump_database(server.url, tmp_path / "no" / "folder.dump")
    assert (tmp_path / "all.dump").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "all.dump").read_bytes().startswith(b"PGDMP")
