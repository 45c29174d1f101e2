"""Calls of sources that tell them whole: what was said is in the journal, whatever comes after."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.model import CapturedCall, CapturedParty, Disposition, IdentityKind
from agent.sip.calls import captured_call, stream_plans
from agent.sip.courier import find_left_over
from agent.sip.journal import FILE_NAME, read_journal
from agent.sip.sounding import holds
from agent.sip.taps import Taps

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
RINGING = CapturedCall(
    source="asterisk:office",
    key="1772452800.11",
    started=NOON,
    parties=(
        CapturedParty(position="caller", kind=IdentityKind.PHONE, value="+74950000001", channel=0, joined=NOON),
        CapturedParty(position="callee", kind=IdentityKind.PHONE, value="101", name="Анна Орлова", channel=1),
    ),
    conversation_key="1772452800.11",
    flags=("something odd",),
    details={"queue": "sales"},
)
TALKING = replace(RINGING, answered=NOON + timedelta(seconds=4))
DONE = replace(TALKING, ended=NOON + timedelta(seconds=64), disposition=Disposition.ANSWERED)


class _Recorder:
    def __init__(self) -> None:
        self.closed: list[str] = []
        self.events: list[frozenset[int]] = []

    def open_stream(self, capture_id: str, index: int, *, events: frozenset[int] = frozenset()) -> int:
        self.events.append(events)
        return 40000 + 2 * index

    async def close_capture(self, capture_id: str) -> None:
        self.closed.append(capture_id)


class _Teller:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.ended: list[str] = []

    def tell(self, capture_id: str) -> None:
        self.told.append(capture_id)

    def tell_ended(self, capture_id: str) -> None:
        self.ended.append(capture_id)


def taps(folder: Path) -> tuple[Taps, _Recorder, _Teller]:
    recorder, teller = _Recorder(), _Teller()
    return Taps(recorder, teller, folder), recorder, teller


async def test_what_was_told_is_what_the_journal_tells(tmp_path: Path) -> None:
    desk, recorder, teller = taps(tmp_path)
    tap = desk.open(RINGING)
    folder = tmp_path / tap.capture_id
    assert captured_call(read_journal(folder), tap.capture_id) == replace(RINGING, capture_id=tap.capture_id)
    tap.tell(TALKING)
    tap.tell(TALKING)
    assert teller.told == [tap.capture_id] * 2  # nothing new, nothing said
    assert captured_call(read_journal(folder), tap.capture_id).answered == TALKING.answered
    await tap.close(DONE)
    await tap.close(DONE)
    assert captured_call(read_journal(folder), tap.capture_id) == replace(DONE, capture_id=tap.capture_id)
    assert teller.ended == recorder.closed == [tap.capture_id] and not desk.open_taps()


async def test_each_stream_is_on_the_channel_its_source_names_and_holds_are_known(tmp_path: Path) -> None:
    desk, recorder, _ = taps(tmp_path)
    tap = desk.open(RINGING)
    codecs = {"8": "PCMA/8000", "101": "telephone-event/8000"}
    assert tap.open_stream(1, label="callee", codecs=codecs) == (0, 40000)
    tap.open_stream(0, label="caller", codecs=codecs)
    tap.open_stream(1, label="callee, after the transfer", codecs=codecs)
    tap.set_active(1, active=False, at=NOON + timedelta(seconds=10))
    tap.set_active(1, active=True, at=NOON + timedelta(seconds=20))
    facts = read_journal(tmp_path / tap.capture_id)
    plans = stream_plans(facts)
    assert [(one.index, one.channel) for one in plans] == [(0, 1), (1, 0), (2, 1)]
    assert plans[0].codecs == codecs and recorder.events == [frozenset({101})] * 3
    (hold,) = holds(facts, plans, NOON + timedelta(seconds=64))
    assert (hold.channel, hold.end - hold.start) == (0, 10)


async def test_a_call_cut_off_by_a_crash_is_closed_at_the_next_start(tmp_path: Path) -> None:
    desk, _, _ = taps(tmp_path)
    tap = desk.open(RINGING)
    tap.tell(TALKING)
    with (tmp_path / tap.capture_id / FILE_NAME).open("ab") as journal:
        journal.write(b'{"at": "2026-03-02T12:00:05+00:00", "fact": "snapshot", "call": {"source": "aste')
    assert find_left_over(tmp_path, frozenset()) == [tap.capture_id]
    call = captured_call(read_journal(tmp_path / tap.capture_id), tap.capture_id)
    assert call.truncated and call.ended is not None and call.disposition is Disposition.ANSWERED
    assert (call.source, call.key, call.parties) == (RINGING.source, RINGING.key, RINGING.parties)


async def test_a_stop_leaves_every_call_marked_as_cut_short(tmp_path: Path) -> None:
    desk, _, teller = taps(tmp_path)
    tap = desk.open(TALKING)
    await desk.stop()
    call = captured_call(read_journal(tmp_path / tap.capture_id), tap.capture_id)
    assert call.truncated and call.disposition is Disposition.ANSWERED and teller.ended == [tap.capture_id]
