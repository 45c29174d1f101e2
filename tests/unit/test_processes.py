"""Child processes: back when they were killed, gone when we are gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import processes
from agent.processes import ChildProcess

_REPOSITORY = Path(__file__).parents[2]
_CHILD = """
import os, pathlib, signal, sys, time
from agent.processes import leave_with_parent

leave_with_parent()
folder = pathlib.Path(sys.argv[1])
if (folder / "stubborn").exists():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
told = folder / f"{os.getpid()}.part"
told.write_text(os.environ.get("CARDLINE_TEST", ""))
told.rename(folder / str(os.getpid()))
if (folder / "leave").exists():
    sys.exit(7)
time.sleep(600)
"""
_PARENT = """
import asyncio, sys
from agent.processes import ChildProcess

async def main():
    await ChildProcess("child", ["child_of_tests", sys.argv[1]], environment={}).start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where each child leaves a file with its pid as the name."""
    (tmp_path / "child_of_tests.py").write_text(_CHILD)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{_REPOSITORY}")
    monkeypatch.setattr(processes, "_FIRST_PAUSE_SECONDS", 0.01)
    (tmp_path / "pids").mkdir()
    return tmp_path / "pids"


def _pids(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    return False


async def _until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not what():  # noqa: ASYNC110 - other processes set no events
            await asyncio.sleep(0.02)


def _child(folder: Path) -> ChildProcess:
    return ChildProcess("child", ["child_of_tests", str(folder)], environment={"CARDLINE_TEST": "told"})


async def test_a_killed_child_is_started_again(folder: Path) -> None:
    child = _child(folder)
    await child.start()
    try:
        for count in (1, 2, 3):
            await _until(lambda wanted=count: len(_pids(folder)) == wanted)  # type: ignore[misc]
            assert child.pid in _pids(folder)
            assert (folder / str(child.pid)).read_text() == "told"
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
        await _until(lambda: len(_pids(folder)) == 4)
    finally:
        await child.stop()
    assert not any(_is_alive(pid) for pid in _pids(folder))


async def test_a_child_that_leaves_by_itself_is_started_again(folder: Path) -> None:
    (folder / "leave").touch()
    child = _child(folder)
    await child.start()
    try:
        await _until(lambda: len(_pids(folder)) >= 3)
    finally:
        await child.stop()


async def test_a_stopped_child_stays_stopped(folder: Path) -> None:
    child = _child(folder)
    await child.start()
    await _until(lambda: len(_pids(folder)) == 1)
    await child.stop()
    await child.stop()
    assert not _is_alive(_pids(folder)[0])
    await asyncio.sleep(0.1)
    assert len(_pids(folder)) == 1


async def test_a_child_that_does_not_listen_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_STOP_SECONDS", 0.2)
    (folder / "stubborn").touch()
    child = _child(folder)
    await child.start()
    await _until(lambda: len(_pids(folder)) == 1)
    await child.stop()
    assert not _is_alive(_pids(folder)[0])


async def test_a_machine_without_room_for_a_process_is_waited_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = asyncio.create_subprocess_exec
    refusals = 0

    async def refuse_twice(*arguments: str, **more: object) -> asyncio.subprocess.Process:
        nonlocal refusals
        refusals += 1
        if refusals < 3:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return await real(*arguments, **more)  # type: ignore[arg-type]

    child = _child(folder)
    await child.start()
    try:
        await _until(lambda: len(_pids(folder)) == 1)
        monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse_twice)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        await _until(lambda: len(_pids(folder)) == 2)
        assert refusals == 3
    finally:
        await child.stop()


async def test_a_killed_parent_takes_its_child_with_it(folder: Path) -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", _PARENT, str(folder))
    await _until(lambda: len(_pids(folder)) == 1)
    (pid,) = _pids(folder)
    assert _is_alive(pid)
    parent.kill()
    await parent.wait()
    await _until(lambda: not _is_alive(pid))
    assert _pids(folder) == [pid]
