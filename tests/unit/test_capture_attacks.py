"""The capture process stopped, short of descriptors, and killed while the disk is slow."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from pathlib import Path

import pytest

from agent.sip import captureprocess
from agent.sip.recorder import CaptureEventKind
from tests.unit.capture_lab import HOST, packet, running, sender, until


async def test_a_process_that_is_stopped_for_a_while_loses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path / "captures") as bench:
        pid, port = bench.pid, bench.recorder.open_stream("call", 0)
        with sender() as sock:
            sock.sendto(packet(0), (HOST, port))
            await until(lambda: len(bench.records("call")) == 1)
            os.kill(pid, signal.SIGSTOP)
            sent = [packet(number) for number in range(150)]  # three seconds of a call
            for one in sent[1:]:
                sock.sendto(one, (HOST, port))
            os.kill(pid, signal.SIGCONT)
        await bench.recorder.close_capture("call")
        assert bench.packets("call") == sent and bench.pid == pid


async def test_a_process_that_hangs_is_replaced_and_what_came_meanwhile_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captureprocess, "SILENT", 3.0)
    async with running(tmp_path / "captures") as bench:
        pid, port = bench.pid, bench.recorder.open_stream("call", 0)
        with sender() as sock:
            sock.sendto(packet(0), (HOST, port))
            await until(lambda: len(bench.records("call")) == 1)
            os.kill(pid, signal.SIGSTOP)
            sent = [packet(number) for number in range(100)]
            for one in sent[1:]:
                sock.sendto(one, (HOST, port))
            await until(lambda: bench.recorder.pid not in (None, pid))
            late = bench.recorder.open_stream("late", 0)
            sock.sendto(packet(7), (HOST, late))
            await until(lambda: len(bench.records("late")) == 1)
        await bench.recorder.close_capture("call")
        assert bench.packets("call") == sent
        assert any("died" in text for text in bench.texts())


async def test_a_process_that_lives_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captureprocess, "SILENT", 3.0)
    async with running(tmp_path / "captures") as bench:
        pid = bench.pid
        await asyncio.sleep(7)
        assert bench.pid == pid and bench.events == []


async def test_a_stream_for_which_no_file_can_be_opened_is_refused_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process has three files for a stream, we two: one that fits here only would be promised and never logged."""
    own = resource.getrlimit(resource.RLIMIT_NOFILE)
    child = 64 + 3 * 40 + 2  # room for forty streams

    def limits(what: int) -> tuple[int, int]:
        return (child, child) if what == resource.RLIMIT_NOFILE else own

    monkeypatch.setattr(resource, "getrlimit", limits)
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    async with running(tmp_path / "captures") as bench:
        monkeypatch.undo()
        resource.prlimit(bench.pid, resource.RLIMIT_NOFILE, (child, child))
        ports = [bench.recorder.open_stream("call", number) for number in range(40)]
        with pytest.raises(OSError, match="LimitNOFILE"):
            bench.recorder.open_stream("one-too-many", 0)
        assert bench.recorder.open_stream("call", 3) == ports[3]
        with sender() as sock:
            for port in ports:
                sock.sendto(packet(1), (HOST, port))
        await until(lambda: len(bench.kinds(CaptureEventKind.FIRST_PACKET)) == 40)
        await bench.recorder.close_capture("call")
        assert all(bench.packets("call", number) == [packet(1)] for number in range(40))
        assert bench.texts() == []
        bench.recorder.open_stream("another", 0)
