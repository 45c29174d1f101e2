"""The capture process stopped, short of descriptors, and killed while the disk is slow."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import time
from pathlib import Path

import pytest

from agent.sip import captureprocess, recorder
from agent.sip.capture import wall_clock
from agent.sip.capturestream import CaptureStream
from agent.sip.packetwriter import LogStream
from agent.sip.receiving import SECOND, Receivers
from agent.sip.recorder import CaptureEventKind
from agent.sound.packetlog import read_packets
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


HOUR = 3600 * SECOND


@pytest.mark.parametrize(("by", "gap"), [(-HOUR, 0), (HOUR, 3600)], ids=["back", "forward"])
async def test_a_clock_that_was_set_back_moves_no_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: int, gap: int
) -> None:
    """A log that began by another clock: what comes now stands where it was said, or behind a gap."""
    async with running(tmp_path / "captures") as bench:
        with monkeypatch.context() as earlier:
            then, clock = time.time() - by / SECOND, wall_clock() - by
            earlier.setattr("agent.sip.recorder.time.time", lambda: then)
            earlier.setattr(recorder, "wall_clock", lambda: clock)
            port = bench.recorder.open_stream("call", 0)
        with sender() as sock:
            for number in range(3):
                sock.sendto(packet(number), (HOST, port))
                await until(lambda number=number: len(bench.records("call")) == number + 1)  # type: ignore[misc]
            os.kill(bench.pid, signal.SIGKILL)
            sock.sendto(packet(3), (HOST, port))
            await until(lambda: len(bench.records("call")) == 4)
        await bench.recorder.close_capture("call")
        times = [one.at - then for one in read_packets(bench.folder / "call" / "0.rtpdump")]
        assert times == sorted(times) and gap - 0.1 < times[0] and times[-1] < gap + 60


async def test_a_pause_goes_on_where_the_clock_is_set_back_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path / "captures") as bench:
        port = bench.recorder.open_stream("call", 0)
        with sender() as sock:
            sock.sendto(packet(0), (HOST, port))
            await until(lambda: len(bench.records("call")) == 1)
            with monkeypatch.context() as later:  # the pause is told by a clock that is an hour ahead of the packets'
                now = time.time_ns
                later.setattr("agent.sip.recorder.time.time_ns", lambda: now() + HOUR)
                bench.recorder.pause("call")
            sock.sendto(packet(1), (HOST, port))
            await asyncio.sleep(1.2)
            bench.recorder.resume("call")
            await asyncio.sleep(0.05)
            sock.sendto(packet(2), (HOST, port))
        await bench.recorder.close_capture("call")
        assert bench.packets("call") == [packet(0), packet(2)]


def test_packets_of_before_and_after_the_clock_was_set_are_told_apart(tmp_path: Path) -> None:
    now = time.time_ns()
    log = LogStream(
        tmp_path / "0.rtpdump", name=("call", 0), address=HOST, port=4000, started=(now - 10 * SECOND) / 1e9
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        stream = CaptureStream(("call", 0), sock, None, log, Receivers())
        before = stream._offset(now - SECOND)
        log.start = log.start[0] + 3600, log.start[1]  # the test cannot set the clock back, so the log began later
        stream.set_clock(-HOUR)  # since then what waits may have either time
        assert abs(stream._offset(now - SECOND) - before) <= 1
        assert abs(stream._offset(now + HOUR - SECOND) - before) <= 1
        assert [end for _, end in stream.by_the_log([(now, now + 1)])] == [now + 1 + HOUR]
