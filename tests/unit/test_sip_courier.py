"""From journals to the intake: order, patience, and what a crash leaves behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.demo.siprec_client import PlayedCall, play_call
from agent.model import CapturedCall, Disposition
from agent.sip.courier import Courier
from agent.sip.journal import CLOSED, FILE_NAME, OPENED, STREAM, Journal, read_journal
from tests.unit.sip_peers import DATA, MemoryIntake, bench, until

INVITE = (DATA / "siprec" / "opensips-4.1-rtpengine-invite.sip").read_bytes()
BEGAN = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def opened(captures: Path, key: str = "k") -> Journal:
    journal = Journal.create(captures)
    journal.write(OPENED, raw=INVITE, at=BEGAN, source="siprec", key=key)
    for index, label in enumerate(("1", "0")):
        journal.write(STREAM, at=BEGAN, index=index, label=label, active=True, codecs={"8": "PCMA/8000"})
    return journal


def courier(intake: MemoryIntake, captures: Path) -> Courier:
    return Courier(intake, captures, first_delay=0.01, longest_delay=0.02)


async def test_the_journal_is_private_and_complete(tmp_path: Path) -> None:
    journal = opened(tmp_path / "captures")
    path = journal.folder / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.folder.stat().st_mode) == stat.S_IMODE(journal.folder.parent.stat().st_mode) == 0o700
    facts = read_journal(journal.folder)
    assert facts[0].raw() == INVITE and facts[0].at == BEGAN and [f.kind for f in facts] == [OPENED, STREAM, STREAM]


async def test_a_line_cut_off_costs_only_itself(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    path = journal.folder / FILE_NAME
    whole = path.read_bytes()
    for cut in range(0, len(whole), 97):
        path.write_bytes(whole[:cut])
        journal.write(CLOSED, by="client")
        facts = read_journal(journal.folder)
        assert facts[-1].kind == CLOSED
        assert len(facts) - 1 in (whole[:cut].count(b"\n"), whole[:cut].count(b"\n") + 1)
    path.write_bytes(
        whole + b"\x00\xff{]\n[]\n{}\n" + b'{"at": "2026-11-22", "fact": "closed"}\n' + b"[" * 100_000 + b"\n"
    )
    assert len(read_journal(journal.folder)) == 3


async def test_it_tells_for_as_long_as_the_database_is_away(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.intake.away = 7
        played = await play_call(b.address, PlayedCall(caller="1", callee="2", ring_s=0.05, caller_sound=b"\xd5" * 800))
        [call] = await b.ended()
        assert await b.courier.drain(5) and b.courier.waiting == 0
    assert call.key == played.session_id and call.ended
    verbs = [verb for verb, _ in b.intake.events]
    assert verbs[0] == "open" and verbs[-1] == "close" and verbs.count("open") == verbs.count("close") == 1


async def test_an_error_of_ours_is_tried_again_too(tmp_path: Path) -> None:
    class Stumbling(MemoryIntake):
        stumbles = 3

        async def open_call(self, call: CapturedCall) -> int:
            self.stumbles -= 1
            if self.stumbles >= 0:
                raise ZeroDivisionError
            return await super().open_call(call)

    intake, journal = Stumbling(), opened(tmp_path)
    teller = courier(intake, tmp_path)
    journal.write(CLOSED, at=BEGAN + timedelta(seconds=5), by="client")
    teller.tell_ended(journal.capture_id)
    assert await teller.drain(5)
    assert [verb for verb, _ in intake.events] == ["open", "close"]


async def test_the_close_waits_until_it_is_told(tmp_path: Path) -> None:
    """A closed journal alone must not start assembling: the capture process may still be writing."""
    intake, journal = MemoryIntake(), opened(tmp_path)
    teller = courier(intake, tmp_path)
    journal.write(CLOSED, by="client")
    teller.tell(journal.capture_id)
    await until(lambda: bool(intake.events))
    await asyncio.sleep(0.05)
    assert [verb for verb, _ in intake.events] == ["open"]
    teller.tell_ended(journal.capture_id)
    assert await teller.drain(5)
    assert intake.events[-1][0] == "close"


async def test_recovery_brings_in_what_a_crash_left(tmp_path: Path) -> None:
    silent, with_sound, finished = (opened(tmp_path, key) for key in ("silent", "sound", "finished"))
    with (silent.folder / FILE_NAME).open("ab") as file:
        file.write(b'{"at": "2026-11-22T10:00:07+00:00", "fact": "upd')  # cut off by the crash
    last = BEGAN + timedelta(seconds=63)
    (with_sound.folder / "0.rtpdump").write_bytes(b"x")
    os.utime(with_sound.folder / "0.rtpdump", (last.timestamp(), last.timestamp()))
    finished.write(CLOSED, at=BEGAN + timedelta(seconds=9), by="client")
    (tmp_path / "empty").mkdir()
    lost = tmp_path / "lost"
    lost.mkdir()
    (lost / FILE_NAME).write_bytes(b"\0\0\0")
    (lost / "0.rtpdump").write_bytes(b"x")
    for _ in range(2):  # once more, as after a second crash: the same
        intake = MemoryIntake()
        teller = courier(intake, tmp_path)
        assert await teller.recover() == 4
        assert await teller.drain(5)
        calls = intake.calls
        assert set(calls) == {"silent", "sound", "finished", "lost"}
        assert calls["silent"].ended == BEGAN and calls["silent"].truncated
        assert calls["sound"].ended == last and calls["sound"].truncated
        assert calls["finished"].ended == BEGAN + timedelta(seconds=9) and not calls["finished"].truncated
        assert calls["lost"].truncated and calls["lost"].flags
        assert all(call.disposition is Disposition.ANSWERED for key, call in calls.items() if key != "lost")
        assert [party.value for party in calls["silent"].parties] == ["79161234567", "101"]
    assert (lost / "0.rtpdump").exists()  # removing is up to the assemble job


async def test_a_folder_assembled_meanwhile_gives_no_call(tmp_path: Path) -> None:
    intake = MemoryIntake()
    teller = courier(intake, tmp_path)
    teller.tell_ended("gone")
    assert await teller.drain(5)
    assert not intake.events and teller.waiting == 0


async def test_a_crash_in_the_middle_of_a_call_is_recovered(tmp_path: Path) -> None:
    """What lies on the disk while a call goes on is what a crash leaves: the next start finds the call."""
    call = PlayedCall(caller="1", callee="2", caller_sound=b"\xd5" * 8000)
    left = tmp_path / "left"
    async with bench(tmp_path / "data") as b:
        playing = asyncio.create_task(play_call(b.address, call))
        await until(lambda: bool(b.intake.calls))
        shutil.copytree(tmp_path / "data" / "captures", left)
        await playing
    stored = b.intake.calls[call.session_id]
    assert not stored.truncated
    intake = MemoryIntake()
    teller = courier(intake, left)
    assert await teller.recover() == 1
    assert await teller.drain(5)
    recovered = intake.calls[call.session_id]
    assert recovered.truncated and recovered.ended and recovered.disposition is Disposition.ANSWERED
    assert recovered.capture_id == stored.capture_id
