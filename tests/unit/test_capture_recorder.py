"""Real RTP over loopback through a real capture process, and what a killed one, a torn log and a stranger do to it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Set
from pathlib import Path

import pytest

from agent.sip import packetwriter
from agent.sip.ports import PortRange
from agent.sip.receiving import SO_TIMESTAMPNS
from agent.sip.recorder import CaptureEventKind
from agent.sound.packetlog import RECORD, read_packets
from tests.unit.capture_lab import HOST, Bench, counts, packet, running, sender, until


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with running(tmp_path / "captures") as one:
        yield one


async def test_every_packet_is_logged_as_it_came_with_its_arrival(bench: Bench) -> None:
    began = time.time()
    port = bench.recorder.open_stream("call-1", 0)
    assert port % 2 == 0
    assert bench.recorder.open_stream("call-1", 0) == port
    sent = [packet(number) for number in range(30)] + [b"\x80", b"not RTP, but from our sender"]
    with sender() as sock:
        for one in sent:
            sock.sendto(one, (HOST, port))
            await asyncio.sleep(0.002)
        await until(lambda: bench.kinds(CaptureEventKind.FIRST_PACKET))
        await bench.recorder.close_capture("call-1")

    assert bench.packets("call-1") == sent
    times = [one.at for one in read_packets(bench.folder / "call-1" / "0.rtpdump")]
    assert times == sorted(times)
    assert began - 0.01 <= times[0] <= times[-1] <= time.time() + 0.01
    (first,) = bench.kinds(CaptureEventKind.FIRST_PACKET)
    assert (first.capture_id, first.stream) == ("call-1", 0)
    (closed,) = bench.kinds(CaptureEventKind.CLOSED)
    assert closed.details == counts(packets=len(sent))
    assert (bench.folder / "call-1" / "0.rtpdump").stat().st_mode & 0o777 == 0o600
    assert (bench.folder / "call-1").stat().st_mode & 0o777 == 0o700


async def test_a_killed_process_loses_no_packet(bench: Bench) -> None:
    ports = [bench.recorder.open_stream("call-2", index) for index in (0, 1)]
    pids: set[int] = set()
    with sender() as caller, sender() as callee:
        for number in range(200):
            caller.sendto(packet(number), (HOST, ports[0]))
            callee.sendto(packet(number), (HOST, ports[1]))
            if number in (60, 140):
                pids.add(await kill_between_ticks(bench, "call-2", packets=number // 2, spared=pids))
            await asyncio.sleep(0.005)
        await bench.recorder.close_capture("call-2")

    assert len(pids) == 2
    for stream in (0, 1):
        assert bench.packets("call-2", stream) == [packet(number) for number in range(200)]
    assert len(bench.kinds(CaptureEventKind.FIRST_PACKET)) == 2


async def kill_between_ticks(bench: Bench, capture: str, *, packets: int, spared: Set[int] = frozenset()) -> int:
    """SIGKILL once all logs have more packets than that: their tick is over, the rest lies in the kernel."""

    def logged() -> int:
        logs = (bench.folder / capture).glob("*.rtpdump")
        return min((sum(1 for _ in read_packets(path)) for path in logs), default=0)

    await until(lambda: bench.recorder.pid not in {None, *spared} and logged() > packets)
    pid = bench.recorder.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


async def test_a_kill_while_closing_still_flushes(bench: Bench) -> None:
    port = bench.recorder.open_stream("call-3", 0)
    with sender() as sock:
        for number in range(50):
            sock.sendto(packet(number), (HOST, port))
        pid = bench.recorder.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        closing = asyncio.create_task(bench.recorder.close_capture("call-3"))
        await asyncio.sleep(0.05)
        assert not closing.done()
        os.kill(pid, signal.SIGKILL)
        await closing
    assert bench.packets("call-3") == [packet(number) for number in range(50)]


async def test_packets_of_strangers_are_counted_and_not_logged(bench: Bench) -> None:
    port = bench.recorder.open_stream("call-4", 0)
    with sender() as ours, sender() as stranger:
        stranger.sendto(b"knock, knock", (HOST, port))  # no RTP: does not lock the stream
        await asyncio.sleep(0.02)
        ours.sendto(packet(0), (HOST, port))
        await until(lambda: bench.kinds(CaptureEventKind.FIRST_PACKET))
        for number in range(1, 20):
            ours.sendto(packet(number), (HOST, port))
            stranger.sendto(packet(1000 + number), (HOST, port))
        # the next process knows whom we listen to
        pid = await kill_between_ticks(bench, "call-4", packets=19)
        stranger.sendto(packet(5000), (HOST, port))
        await until(lambda: bench.recorder.pid not in (None, pid))
        await bench.recorder.close_capture("call-4")
    assert bench.packets("call-4") == [packet(number) for number in range(20)]


async def test_the_service_stopping_leaves_complete_logs(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        port = bench.recorder.open_stream("call-5", 0)
        with sender() as sock:
            for number in range(100):
                sock.sendto(packet(number), (HOST, port))
    assert bench.packets("call-5") == [packet(number) for number in range(100)]
    assert bench.recorder.pid is None


async def test_a_disk_that_refuses_is_reported_and_tried_again(bench: Bench) -> None:
    blocker = bench.folder / "call-6"
    blocker.write_text("a file where the folder should be")
    port = bench.recorder.open_stream("call-6", 0)
    with sender() as sock:
        sock.sendto(packet(0), (HOST, port))
        await until(lambda: bench.kinds(CaptureEventKind.TROUBLE))
        sock.sendto(packet(1), (HOST, port))
        other = bench.recorder.open_stream("call-7", 0)
        sock.sendto(packet(2), (HOST, other))
        await bench.recorder.close_capture("call-7")
        blocker.unlink()
        await bench.recorder.close_capture("call-6")
    assert bench.packets("call-6") == [packet(0), packet(1)]
    assert bench.packets("call-7") == [packet(2)]
    texts = [event.text for event in bench.kinds(CaptureEventKind.TROUBLE)]
    assert len(texts) == 2
    assert "cannot be written" in texts[0]
    assert "written again" in texts[1]


async def test_past_what_memory_may_hold_the_oldest_goes_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    monkeypatch.setattr(packetwriter, "MOST_BYTES", 18_000)
    told: list[str] = []
    syncer = packetwriter.Syncer(bench.folder, trouble=lambda _, text: told.append(text))
    writer = packetwriter.Writer(syncer, trouble=lambda _, text: told.append(text))
    (bench.folder / "blocked").write_text("a file where the folder should be")
    log = packetwriter.LogStream(
        bench.folder / "blocked" / "0.rtpdump", name=("blocked", 0), address=HOST, port=1, started=time.time()
    )
    writer.open(log)
    for number in range(300):
        writer.put([(log, [(RECORD.pack(180, 172, number) + packet(number), 1)])])
    await until(lambda: told)
    assert log.dropped == 200
    (bench.folder / "blocked").unlink()
    closed = threading.Event()
    writer.close(log, closed.set)
    assert await asyncio.to_thread(closed.wait, 20)
    assert await asyncio.to_thread(writer.finish) == 0
    assert bench.packets("blocked") == [packet(number) for number in range(200, 300)]
    assert "200 packets were dropped" in told[-1]


async def test_names_that_leave_the_folder_are_refused(bench: Bench) -> None:
    for name in ("", "..", "../up", "a/b", ".hidden"):
        with pytest.raises(ValueError, match="cannot name a capture"):
            bench.recorder.open_stream(name, 0)
    await bench.recorder.close_capture("never opened")


@pytest.mark.parametrize("way", ["parent gone", "SIGTERM"])
def test_the_process_alone_flushes_and_ends(tmp_path: Path, way: str) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.sip.capture", str(theirs.fileno()), str(tmp_path)], pass_fds=[theirs.fileno()]
    )
    theirs.close()
    with sender() as media, sender() as caller:
        media.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        log = tmp_path / "call" / "0.rtpdump"
        command = f'{{"op":"open","capture":"call","stream":0,"path":"{log}","at":{time.time()}}}'
        socket.send_fds(ours, [command.encode()], [media.fileno()])
        for number in range(100):
            caller.sendto(packet(number), media.getsockname())
        assert b"first_packet" in ours.recv(4096)
        for number in range(100, 200):
            caller.sendto(packet(number), media.getsockname())
        if way == "SIGTERM":
            process.terminate()
        else:
            ours.close()
        assert process.wait(20) == 0
    ours.close()
    assert [one.data for one in read_packets(log)] == [packet(number) for number in range(200)]


def test_the_process_answers_nonsense_with_trouble(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        process = subprocess.Popen(
            [sys.executable, "-m", "agent.sip.capture", str(theirs.fileno()), str(tmp_path)], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        opening = b'{"op":"open","capture":"x","stream":0,"path":"y","at":%s}'
        for nonsense in (b"{", b"[]", b"null", b'"op"', b'{"op":"open"}', b"\xff", opening % b"0", opening % b"1e999"):
            ours.send(nonsense)
            assert b"not understood" in ours.recv(4096)
        ours.send(b'{"op":"close","capture":"x"}')
        assert b'"closed"' in ours.recv(4096)
    assert process.wait(20) == 0


def test_a_restart_does_not_begin_at_the_ports_to_which_somebody_may_still_send() -> None:
    begun = set()
    for _ in range(20):
        pair = PortRange(HOST, (30000, 39999)).take()
        begun.add(pair[0].getsockname()[1])
        for one in pair:
            one.close()
    assert len(begun) > 10


def test_ports_are_even_pass_over_taken_ones_and_rest_after_use() -> None:
    with sender() as taken:
        port = taken.getsockname()[1]
        first = port - port % 2
        ports = PortRange(HOST, (first, first + 5))
        pairs = [ports.take(), ports.take()]
        assert {rtp.getsockname()[1] for rtp, _ in pairs} == {first + 2, first + 4}
        assert all(rtcp.getsockname()[1] == rtp.getsockname()[1] + 1 for rtp, rtcp in pairs)
        for rtp_socket, rtcp_socket in pairs:
            ports.give_back(rtp_socket.getsockname()[1])
            rtp_socket.close()
            rtcp_socket.close()
        with pytest.raises(OSError, match="widen"):
            ports.take()
