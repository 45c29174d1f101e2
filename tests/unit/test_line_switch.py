"""The calls of a line with a telephone of paper: who is refused, what is recorded, and what a clock ends."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.sip.lines import switch
from agent.sip.lines.phone import EARLY, GONE, TALKING, PhoneFault
from agent.sip.lines.switch import Switch
from agent.sip.lines.words import (
    ANSWERED,
    ENDED,
    HELD,
    KEY,
    PAUSE,
    RECORD,
    RECORDING,
    REFUSED,
    REGISTERED,
    RESUME,
    RINGING,
    SOURCES,
    WRONG,
)
from tests.unit.test_line_invitation import ACCOUNT, invite

PBX = "192.0.2.9:5060"
OPEN_WAV = b"RIFF\x00\x00\x00\x00WAVE"


@dataclass(eq=False)
class PaperLeg:
    has_sound: bool = False
    is_active: bool = True
    is_held: bool = False
    done: list[tuple[str, object]] = field(default_factory=list)

    def sound(self) -> object | None:
        return self if self.has_sound else None

    def answer(self, status: int) -> None:
        self.done.append(("answer", status))

    def hang_up(self, status: int) -> None:
        self.done.append(("hang_up", status))

    def press(self, digit: str) -> None:
        self.done.append(("press", digit))


@dataclass
class PaperPhone:
    legs: list[PaperLeg] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    wires: set[tuple[int, int]] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)
    registrations: int = 0
    fails: str = ""

    def register(self) -> bool:
        self.registrations += 1
        return True

    def dial(self, target: str, *, shown: str, asserted: str) -> PaperLeg:
        if self.fails == "dial":
            raise PhoneFault("no route.")
        self.targets.append(target)
        self.legs.append(PaperLeg())
        return self.legs[-1]

    def record(self, file: Path) -> object:
        if self.fails == "record":
            raise PhoneFault("disk full.")
        file.write_bytes(OPEN_WAV)
        self.files.append(file)
        return file

    def announcement(self, file: str) -> object:
        raise PhoneFault("not a WAV file.")

    def beep(self) -> object:
        return self

    def connect(self, source: object, sink: object) -> None:
        self.wires.add((id(source), id(sink)))

    def disconnect(self, source: object, sink: object) -> None:
        self.wires.discard((id(source), id(sink)))


class Desk:
    """A switch, its telephone and what it said; the clock is moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **account: Any) -> None:
        self.phone, self.facts = PaperPhone(), list[tuple[str, dict[str, Any]]]()
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        told = {**ACCOUNT, "sources": ["192.0.2.9"], "announcement": "", "beep_s": 0, **account}
        self.switch = Switch(self.phone, told, self._say)

    def _say(self, kind: str, at: float, **data: Any) -> None:
        self.facts.append((kind, data))

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [data for name, data in self.facts if name == kind]

    def invited(self, peer: str = PBX, raw: bytes | None = None) -> tuple[PaperLeg, str]:
        leg = PaperLeg()
        self.switch.invited(leg, invite() if raw is None else raw, peer, 5.0)
        return leg, str(self.all(RINGING)[-1]["call"]) if self.all(RINGING) else ""

    def talk(self, folder: str | Path) -> tuple[PaperLeg, PaperLeg, str]:
        """A call that is answered, with sound both ways."""
        caller, call = self.invited()
        self.switch.obey(RECORD, {"call": call, "folder": str(folder)})
        callee = self.phone.legs[-1]
        self.switch.leg_changed(callee, TALKING, 200, "OK", 6.0)
        for leg in (caller, callee):
            leg.has_sound = True
            self.switch.leg_sounds(leg, 6.0)
        return caller, callee, call

    def pass_seconds(self, seconds: float) -> None:
        self.now += seconds
        self.switch.look_at_clocks()


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


def test_a_whole_call(desk: Desk, tmp_path: Path) -> None:
    caller, callee, call = desk.talk(tmp_path)
    assert caller.done == [("answer", 200)] and len(desk.all(ANSWERED)) == 1
    assert {(one["side"], one["file"]) for one in desk.all(RECORDING)} == {
        ("caller", "caller.wav"),
        ("callee", "callee.wav"),
    }
    assert {(id(caller), id(callee)), (id(callee), id(caller))} < desk.phone.wires and len(desk.phone.wires) == 4
    desk.switch.leg_pressed(caller, "5", 7.0)
    assert callee.done == [("press", "5")] and desk.all(KEY)[0]["side"] == "caller"
    desk.switch.leg_changed(callee, GONE, 200, "bye", 9.0)
    assert caller.done[-1][0] == "hang_up"
    desk.switch.look_at_clocks()
    assert desk.all(ENDED) == []  # the files are not closed yet
    for file in desk.phone.files:
        file.write_bytes(b"RIFF\x04\x00\x00\x00WAVE")
    desk.switch.look_at_clocks()
    assert desk.all(ENDED) == [{"call": call, "by": "callee", "status": 200, "reason": "bye"}]
    desk.switch.leg_changed(caller, GONE, 200, "bye", 9.1)
    desk.pass_seconds(0.1)
    desk.invited()
    desk.invited()
    assert desk.all(REFUSED) == []  # its place is free


def test_a_file_that_is_never_closed_holds_up_nobody(desk: Desk, tmp_path: Path) -> None:
    caller, _, _ = desk.talk(tmp_path)
    desk.switch.leg_changed(caller, GONE, 200, "bye", 9.0)
    desk.pass_seconds(switch.CLOSE_S + 0.1)
    assert len(desk.all(ENDED)) == 1


def test_strangers_and_a_full_line_are_refused(desk: Desk, tmp_path: Path) -> None:
    stranger, _ = desk.invited("203.0.113.7:5060")
    assert stranger.done == [("hang_up", 403)] and not desk.all(RINGING)
    desk.switch.obey(SOURCES, {"sources": ["203.0.113.7"]})
    assert desk.invited("203.0.113.7:5060")[0].done == []
    desk.switch.obey(SOURCES, {"sources": ["192.0.2.9"]})
    desk.invited()
    third, _ = desk.invited()
    assert third.done == [("hang_up", 486)]
    assert [one["status"] for one in desk.all(REFUSED)] == [403, 486]


def test_a_call_waits_for_its_folder_and_not_for_ever(desk: Desk) -> None:
    caller, call = desk.invited()
    assert desk.phone.targets == []
    desk.pass_seconds(switch.PLACE_S + 0.1)
    assert desk.phone.targets == ["sip:101@pbx.example.com:5070"]
    desk.switch.obey(RECORD, {"call": call, "folder": ""})
    assert len(desk.phone.targets) == 1 and caller.done == []


def test_a_folder_that_comes_late_still_takes_the_sound(desk: Desk, tmp_path: Path) -> None:
    caller, call = desk.invited()
    desk.pass_seconds(switch.PLACE_S + 0.1)
    callee = desk.phone.legs[0]
    desk.switch.leg_changed(callee, TALKING, 200, "OK", 6.0)
    for leg in (caller, callee):
        leg.has_sound = True
        desk.switch.leg_sounds(leg, 6.0)
    desk.switch.obey(RECORD, {"call": call, "folder": str(tmp_path)})
    assert len(desk.all(RECORDING)) == 2 and len(desk.phone.wires) == 4


def test_ringing_and_early_media(desk: Desk) -> None:
    caller, call = desk.invited()
    desk.switch.obey(RECORD, {"call": call, "folder": ""})
    callee = desk.phone.legs[0]
    desk.switch.leg_changed(callee, EARLY, 180, "Ringing", 6.0)
    callee.has_sound = True
    desk.switch.leg_sounds(callee, 6.1)
    assert caller.done == [("answer", 180), ("answer", 183)]
    desk.pass_seconds(switch.RING_S + 1)
    assert caller.done[-1] == ("hang_up", 408) and callee.done == [("hang_up", 408)]


def test_hold_is_told_once_each_way(desk: Desk, tmp_path: Path) -> None:
    _, callee, _ = desk.talk(tmp_path)
    for held in (True, True, False, False):
        callee.is_held = held
        desk.switch.leg_sounds(callee, 7.0)
    assert [(one["side"], one["active"]) for one in desk.all(HELD)] == [("callee", False), ("callee", True)]


def test_a_pause_keeps_sound_out_of_the_files_and_not_from_the_other_side(desk: Desk, tmp_path: Path) -> None:
    caller, callee, call = desk.talk(tmp_path)
    desk.switch.obey(PAUSE, {"call": call})
    talking = {(id(caller), id(callee)), (id(callee), id(caller))}
    assert desk.phone.wires == talking
    desk.switch.leg_sounds(caller, 7.0)  # a re-INVITE does not end it
    assert desk.phone.wires == talking
    desk.switch.obey(RESUME, {"call": call})
    assert len(desk.phone.wires) == 4


def test_faults_cost_the_recording_and_not_the_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    desk = Desk(monkeypatch, announcement="hello.wav")
    desk.phone.fails = "record"
    caller, callee, _ = desk.talk(tmp_path)
    assert len(desk.all(WRONG)) == 1 and desk.phone.wires == {(id(caller), id(callee)), (id(callee), id(caller))}
    desk.phone.fails = "dial"
    second, call = desk.invited()
    desk.switch.obey(RECORD, {"call": call, "folder": ""})
    assert second.done == [("hang_up", 503)]
    desk.switch.look_at_clocks()
    assert desk.all(ENDED)[0]["status"] == 503


def test_an_announcement_that_cannot_be_played_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    desk = Desk(monkeypatch, announcement="hello.wav")
    caller, call = desk.invited()
    desk.switch.obey(RECORD, {"call": call, "folder": str(tmp_path)})
    callee = desk.phone.legs[0]
    desk.switch.leg_changed(callee, TALKING, 200, "OK", 6.0)
    assert desk.all(WRONG) == []  # nobody can hear yet
    for leg in (callee, caller, callee):
        leg.has_sound = True
        desk.switch.leg_sounds(leg, 6.0)
    assert (
        len(desk.all(WRONG)) == 1
        and "announcement" in desk.all(WRONG)[0]["what"]
        and caller.done[-1] == ("answer", 200)
    )


def test_beeps_come_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    desk = Desk(monkeypatch, beep_s=15)
    desk.talk(tmp_path)
    before = len(desk.phone.wires)
    desk.pass_seconds(14)
    assert len(desk.phone.wires) == before
    desk.pass_seconds(2)
    assert len(desk.phone.wires) == before + 2


def test_registering_is_tried_again(desk: Desk) -> None:
    desk.switch.registered(408, "Timeout", 0)
    desk.pass_seconds(0.5)
    assert desk.phone.registrations == 0
    desk.pass_seconds(2)
    assert desk.phone.registrations == 1
    desk.switch.registered(200, "OK", 120)
    desk.pass_seconds(100)
    assert desk.phone.registrations == 1
    assert [one["status"] for one in desk.all(REGISTERED)] == [408, 200]
    desk.switch.registered(200, "OK", 0)  # it was taken back
    assert len(desk.all(REGISTERED)) == 2


def test_a_stop_ends_everything_and_takes_nothing_more(desk: Desk, tmp_path: Path) -> None:
    caller, callee, _ = desk.talk(tmp_path)
    desk.switch.stop()
    assert ("hang_up", 503) in caller.done and ("hang_up", 503) in callee.done
    assert desk.invited()[0].done == [("hang_up", 503)]
    stopped = [desk.switch.is_stopped]
    desk.pass_seconds(switch.STOP_S + 0.1)
    assert [*stopped, desk.switch.is_stopped] == [False, True] and len(desk.all(ENDED)) == 1


def test_what_concerns_no_call_is_nothing(desk: Desk) -> None:
    ghost = PaperLeg(has_sound=True)
    desk.switch.leg_changed(ghost, GONE, 200, "", 1.0)
    desk.switch.leg_sounds(ghost, 1.0)
    desk.switch.leg_pressed(ghost, "1", 1.0)
    desk.switch.obey(RECORD, {"call": "none", "folder": "/x"})
    desk.switch.obey("", {})
    assert desk.facts == []
    desk.pass_seconds(1)
    assert desk.facts == [("alive", {})]
