"""Disks that are full or do not answer, real ones: it is said, what can be kept is kept, and the sockets never wait."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.sip.recorder import CaptureEventKind
from tests.unit.capture_lab import HOST, Bench, packet, running, sender, until


def run(*command: str) -> None:
    subprocess.run(command, check=True)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A file system for the time of a test; skipped where mounting is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    folder.mkdir()
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        run("umount", "--lazy", str(folder))


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Bench]:
    """Captures on a disk of 256 KB."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=256k", "cardline") as disk:
        async with running(disk / "captures") as bench:
            yield bench


@pytest.fixture
async def freezable(tmp_path: Path) -> AsyncIterator[tuple[Bench, Path]]:
    """Captures on an ext4 of their own, which can be frozen."""
    if not (shutil.which("mkfs.ext4") and shutil.which("fsfreeze")):
        pytest.skip("mkfs.ext4 and fsfreeze are needed")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(32 << 20)
    run("mkfs.ext4", "-q", str(image))
    with mounted(tmp_path / "disk", "-o", "loop", str(image)) as disk:
        async with running(disk / "captures") as bench:
            yield bench, disk


async def test_a_full_disk_is_said_and_everything_is_written_when_there_is_room(small: Bench) -> None:
    ballast = small.folder / "ballast"
    port = small.recorder.open_stream("call", 0)
    other = small.recorder.open_stream("other", 0)
    sent = [packet(number) for number in range(3000)]
    with sender() as sock:
        sock.sendto(sent[0], (HOST, port))
        sock.sendto(sent[0], (HOST, other))
        await until(lambda: len(small.records("call")) == len(small.records("other")) == 1)
        ballast.write_bytes(bytes(160 * 1024))
        for number, one in enumerate(sent[1:]):  # more than a socket holds and the disk has room for
            sock.sendto(one, (HOST, port))
            if number % 50 == 0:
                await asyncio.sleep(0.02)
        await until(lambda: any("No space left" in text for text in small.texts()))
        kept = small.packets("call")  # whole records up to where it was full, and nothing torn
        assert 0 < len(kept) < len(sent)
        assert kept == sent[: len(kept)]
        ballast.unlink()
        run("mount", "-o", "remount,size=8m", str(small.folder.parent))
        await until(lambda: any("written again; 0 packets" in text for text in small.texts()))
        await small.recorder.close_capture("call")
        await small.recorder.close_capture("other")
    assert small.packets("call") == sent
    assert small.packets("other") == sent[:1]
    assert (
        sum(event.details["dropped"] + event.details["overflowed"] for event in small.kinds(CaptureEventKind.CLOSED))
        == 0
    )


async def test_a_disk_that_hangs_is_said_and_nothing_is_lost(freezable: tuple[Bench, Path]) -> None:
    bench, disk = freezable
    port = bench.recorder.open_stream("call", 0)
    with sender() as sock:
        sock.sendto(packet(0), (HOST, port))
        await until(lambda: len(bench.records("call")) == 1)
        run("fsfreeze", "--freeze", str(disk))
        try:
            sent, began = [packet(0)], time.monotonic()
            while not any("does not answer" in text for text in bench.texts()):
                assert time.monotonic() < began + 20, "nobody said that the disk hangs"
                for _ in range(50):
                    sent.append(packet(len(sent)))
                    sock.sendto(sent[-1], (HOST, port))
                await asyncio.sleep(0.02)
            fresh = bench.recorder.open_stream("fresh", 0)  # new calls are heard all the same
            sock.sendto(packet(7), (HOST, fresh))
            await until(lambda: any(e.capture_id == "fresh" for e in bench.kinds(CaptureEventKind.FIRST_PACKET)))
        finally:
            run("fsfreeze", "--unfreeze", str(disk))
        await until(lambda: any("answers again" in text for text in bench.texts()))
        await bench.recorder.close_capture("call")
        await bench.recorder.close_capture("fresh")
    assert len(sent) > 600  # more than the socket alone could have held
    assert bench.packets("call") == sent
    assert bench.packets("fresh") == [packet(7)]


async def test_a_pause_that_begins_while_the_disk_hangs_is_kept_too(freezable: tuple[Bench, Path]) -> None:
    bench, disk = freezable
    secret = b"4111 1111 1111 1111"
    port = bench.recorder.open_stream("call", 0)
    with sender() as sock:
        sock.sendto(packet(0), (HOST, port))
        await until(lambda: len(bench.records("call")) == 1)
        run("fsfreeze", "--freeze", str(disk))
        try:
            sock.sendto(packet(1), (HOST, port))
            await asyncio.sleep(1.2)
            bench.recorder.pause("call")
            sock.sendto(packet(2)[:12] + secret, (HOST, port))
            await asyncio.sleep(1.2)
            bench.recorder.resume("call")
            await asyncio.sleep(0.005)
            sock.sendto(packet(3), (HOST, port))
        finally:
            run("fsfreeze", "--unfreeze", str(disk))
        await bench.recorder.close_capture("call")
    assert bench.packets("call") == [packet(0), packet(1), packet(3)]
    assert secret not in (bench.folder / "call" / "0.rtpdump").read_bytes()
    run("sync", "-f", str(disk))
    assert secret not in (disk.parent / "image").read_bytes()


async def test_killed_while_the_disk_is_slow_it_loses_no_more_than_it_had_just_taken(
    freezable: tuple[Bench, Path],
) -> None:
    """While a batch is not written the next ones stay in the sockets, which outlive the process."""
    bench, disk = freezable
    port = bench.recorder.open_stream("call", 0)
    with sender() as sock:
        sock.sendto(packet(0), (HOST, port))
        await until(lambda: len(bench.records("call")) == 1)
        run("fsfreeze", "--freeze", str(disk))
        try:
            first, later = ([packet(number) for number in part] for part in (range(1, 20), range(20, 60)))
            for one in first:
                sock.sendto(one, (HOST, port))
            await asyncio.sleep(0.55)  # a tick has taken them
            for one in later:
                sock.sendto(one, (HOST, port))
            await asyncio.sleep(0.6)  # another one would
            killed = bench.pid
            os.kill(killed, signal.SIGKILL)
        finally:
            run("fsfreeze", "--unfreeze", str(disk))
        await until(lambda: bench.recorder.pid not in (None, killed))
        await bench.recorder.close_capture("call")
    kept = bench.packets("call")
    assert kept[0] == packet(0) and kept[-len(later) :] == later
