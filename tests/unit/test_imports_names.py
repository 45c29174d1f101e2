"""Names of recordings and rows of call records as real PBXs write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model import Disposition
from agent.sip.imports.calls import (
    GUESSED,
    NO_RECORD,
    NO_TIME,
    TOO_LONG,
    TOO_SHORT,
    Habits,
    Told,
    captured_call,
    unrecorded_call,
)
from agent.sip.imports.cdr import CdrReader, CdrRow
from agent.sip.imports.matching import Matcher, zone_words
from agent.sip.imports.names import Name, read_name, split_side
from agent.sound.containers import CUT_OFF
from agent.sound.files import NOTHING_RECORDED, SAME_ON_BOTH
from agent.web.reasons import in_russian

MOSCOW = ZoneInfo("Europe/Moscow")
HABITS = Habits(source="recordings:office", zone=MOSCOW)
NOON = datetime(2026, 3, 2, 12, 0, 0)  # noqa: DTZ001 - as the name has it
EPOCH = 1772442000  # 2026-03-02 12:00:00 in Moscow


@pytest.mark.parametrize(
    ("stem", "unique_id", "local", "caller", "callee", "guess"),
    [
        ("external-101-74950000001-20260302-120000-1772442000.11", "1772442000.11", NOON, "74950000001", "101", False),
        ("out-74950000001-101-20260302-120000-1772442000.11", "1772442000.11", NOON, "101", "74950000001", False),
        ("out-+74950000001-101-20260302-120000-1772442000.11", "1772442000.11", NOON, "101", "+74950000001", False),
        ("in-74950000009-74950000001-20260302-120000-1772442000.11", "1772442000.11", NOON, "74950000001",
         "74950000009", False),
        ("q-600-74950000001-20260302-120000-1772442000.11", "1772442000.11", NOON, "74950000001", "600", False),
        ("rg-601-anonymous-20260302-120000-1772442000.11", "1772442000.11", NOON, "anonymous", "601", False),
        ("internal-102-101-20260302-120000-pbx1-1772442000.11", "1772442000.11", NOON, "101", "102", False),
        ("OUT101-20260302-120000-1772442000.11", "1772442000.11", NOON, "101", "", False),
        ("q600-20260302-120000-1772442000.11", "1772442000.11", NOON, "", "600", False),
        ("20260302-120000-1772442000.11", "1772442000.11", NOON, "", "", False),
        ("1772442000.11", "1772442000.11", None, "", "", False),
        ("2026-03-02_12-00-00_74950000001_101", "", NOON, "74950000001", "101", True),
        ("20260302120000-101-74950000001", "", NOON, "101", "74950000001", True),
        ("99999999.1", "", None, "", "", False),
        ("meeting notes", "", None, "", "", False),
        ("20269902-120000", "", None, "20269902", "120000", True),
        ("", "", None, "", "", False),
    ],
)  # fmt: skip
def test_names(stem: str, unique_id: str, local: datetime | None, caller: str, callee: str, guess: bool) -> None:
    expected = Name(unique_id=unique_id, local=local, caller=caller, callee=callee, is_guess=guess)
    assert read_name(stem) == expected


@given(st.text(max_size=300))
def test_no_name_is_too_odd(stem: str) -> None:
    read_name(split_side(stem)[0])


def test_sides_of_a_pair() -> None:
    assert split_side("1772442000.11-in") == ("1772442000.11", 0)
    assert split_side("1772442000.11-out") == ("1772442000.11", 1)
    assert split_side("call_rx") == ("call", 0)
    assert split_side("in-1-2") == ("in-1-2", None)


def _master(**more: str) -> str:
    row = {
        "accountcode": "", "src": "74950000001", "dst": "101", "dcontext": "from-did-direct",
        "clid": '""""Ivan Petrov"" <74950000001>"', "channel": "PJSIP/trunk-0000002a",
        "dstchannel": "PJSIP/101-0000002b",
        "lastapp": "Dial", "lastdata": '"PJSIP/101,20,tr"', "start": "2026-03-02 12:00:00",
        "answer": "2026-03-02 12:00:07", "end": "2026-03-02 12:01:07", "duration": "67", "billsec": "60",
        "disposition": "ANSWERED", "amaflags": "DOCUMENTATION", "uniqueid": "1772442000.11", "userfield": "",
    }  # fmt: skip
    return ",".join({**row, **more}.values())


def _read(*lines: str, zone: ZoneInfo = MOSCOW) -> list[CdrRow]:
    return list(CdrReader(zone).read([line.encode() + b"\n" for line in lines]))


def test_master_csv() -> None:
    (row,) = _read(_master())
    assert (row.unique_id, row.linked_id) == ("1772442000.11", "1772442000.11")
    assert (row.caller, row.callee, row.caller_name) == ("74950000001", "101", "Ivan Petrov")
    assert row.started == datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    assert row.answered == row.started + timedelta(seconds=7)
    assert row.ended == row.started + timedelta(seconds=67)
    assert (row.disposition, row.shift) == (Disposition.ANSWERED, 0.0)


def test_master_csv_with_linked_id_or_without_any() -> None:
    with_linked = _master() + ',"","1772442000.11","5"'
    assert _read(with_linked.replace("1772442000.11", "1772442003.12", 1))[0].linked_id == "1772442000.11"
    bare = ",".join(_master().split(",")[:-2])
    assert _read(bare)[0].unique_id == ""


FREEPBX = (
    "calldate,clid,src,dst,dcontext,channel,dstchannel,lastapp,lastdata,duration,billsec,disposition,amaflags,"
    "accountcode,uniqueid,userfield,did,recordingfile,cnum,cnam,outbound_cnum,outbound_cnam,dst_cnam,linkedid,"
    "peeraccount,sequence"
)
FREEPBX_ROW = (
    '2026-03-02 12:00:00,"""Anna"" <101>",101,74950000001,from-internal,PJSIP/101-0000002a,PJSIP/trunk-0000002b,Dial,'
    '"PJSIP/x",67,60,ANSWERED,3,,pbx-1772442000.11,,,'
    "out-74950000001-101-20260302-120000-1772442000.11.wav,101,Anna,,,,pbx-1772442000.11,,17"
)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_an_export_with_a_header(delimiter: str) -> None:
    header, line = FREEPBX.replace(",", delimiter), FREEPBX_ROW.replace(",", delimiter)
    (row,) = _read("\ufeff" + header, line)
    assert (row.unique_id, row.caller, row.callee, row.caller_name) == ("1772442000.11", "101", "74950000001", "Anna")
    assert row.answered == row.started + timedelta(seconds=7)
    assert row.stem == "out-74950000001-101-20260302-120000-1772442000.11"


def test_nulls_of_a_mysql_export() -> None:
    header = "calldate,src,dst,duration,billsec,disposition,uniqueid,linkedid,recordingfile,cnam"
    (row,) = _read(header, r'"2026-03-02 12:00:00","101","102","5","0","NO ANSWER","1772442000.11",\N,NULL,NULL')
    assert (row.linked_id, row.stem, row.caller_name, row.answered) == ("1772442000.11", "", "", None)


def test_names_in_cp1251_and_lines_that_are_none() -> None:
    reader = CdrReader(MOSCOW)
    broken = [b"\n", b"garbage\n", b'"', b"\xff\x00\n", b"," * 30 + b"\n", _master(start="yesterday").encode() + b"\n"]
    good = _master().replace("Ivan Petrov", "Иван Петров").encode("cp1251") + b"\n"
    rows = list(reader.read([good, *broken, good]))
    assert [row.caller_name for row in rows] == ["Иван Петров"] * 2
    assert reader.unreadable == len(broken) - 1


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_no_line_is_too_odd(lines: list[bytes]) -> None:
    list(CdrReader(MOSCOW).read([FREEPBX.encode(), *lines]))
    list(CdrReader(MOSCOW).read(lines))


def test_a_wrong_zone_is_put_right_by_the_unique_id_and_said() -> None:
    (row,) = _read(_master(), zone=ZoneInfo("Asia/Yekaterinburg"))
    assert row.started == datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
    assert row.shift == 7200
    matcher = Matcher(MOSCOW)
    matcher.take([row])
    assert "off by 2:00:00" in zone_words(matcher)


def test_the_hour_that_comes_twice() -> None:
    """In Berlin 02:30 came twice on 25 October 2026; the unique id knows which of the two it was."""
    times = dict.fromkeys(("start", "answer", "end"), "2026-10-25 02:30:00")
    later = int(datetime(2026, 10, 25, 1, 30, tzinfo=UTC).timestamp())
    (row,) = _read(_master(**times, uniqueid=f"{later}.1"), zone=ZoneInfo("Europe/Berlin"))
    assert row.started == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def _told(*lines: str, stem: str = "1772442000.11", seconds: float = 60.0) -> Told:
    now = datetime(2026, 3, 2, 9, 2, tzinfo=UTC)
    return Told(key="file:x", name=read_name(stem), seconds=seconds, modified=now, rows=tuple(_read(*lines)))


def test_records_go_before_the_name() -> None:
    told = _told(_master(), stem="external-999-74950000077-20200101-000000-1772442000.11")
    call = captured_call(told, HABITS, is_mixed=False)
    assert (call.source, call.key, call.conversation_key) == ("recordings:office", "1772442000.11", "1772442000.11")
    assert [(one.position, one.value, one.channel) for one in call.parties] == [
        ("caller", "74950000001", 0),
        ("callee", "101", 1),
    ]
    assert call.parties[0].name == "Ivan Petrov"
    assert (call.ended or call.started) - (call.answered or call.started) == timedelta(seconds=60)
    assert call.flags == ()


def test_mono_and_callee_first_change_the_channels() -> None:
    mixed = captured_call(_told(_master()), HABITS, is_mixed=True)
    assert [one.channel for one in mixed.parties] == [None, None]
    turned = Habits(source="recordings:office", zone=MOSCOW, callee_first=True)
    assert [one.channel for one in captured_call(_told(_master()), turned, is_mixed=False).parties] == [1, 0]


def test_a_queue_is_one_call_of_who_answered() -> None:
    vain = {"dst": "600", "answer": "", "disposition": "NO ANSWER", "billsec": "0", "lastapp": "Queue"}
    lines = [
        _master(**{**vain, "dstchannel": "Local/102@from-queue-0001;1", "end": "2026-03-02 12:00:20"}),
        _master(dst="600", dstchannel="Local/103@from-queue-0002;1", lastapp="Queue", answer="2026-03-02 12:00:25"),
        _master(**{**vain, "dstchannel": "Local/104@from-queue-0003;1", "end": "2026-03-02 12:00:22"}),
    ]
    call = captured_call(_told(*lines, seconds=40), HABITS, is_mixed=False)
    assert [one.value for one in call.parties] == ["74950000001", "103"]
    assert call.disposition is Disposition.ANSWERED
    assert call.flags == (), "the caller waited, and was not recorded while he did"
    missed = unrecorded_call(_read(lines[0], lines[2]), HABITS)
    assert (missed.disposition, missed.answered, missed.key) == (Disposition.NO_ANSWER, None, "1772442000.11")


def test_a_trunk_called_like_a_number_is_no_extension() -> None:
    call = captured_call(_told(_master(channel="SIP/74959999999-0001", dstchannel="SIP/101-1")), HABITS, is_mixed=False)
    assert [one.value for one in call.parties] == ["74950000001", "101"]
    named = captured_call(_told(_master(channel="SIP/trunk-000")), HABITS, is_mixed=False)
    assert named.parties[0].value == "74950000001"


def test_without_records_the_name_must_do_and_says_so() -> None:
    call = captured_call(_told(stem="out-74950000001-101-20260302-120000-1772442000.11"), HABITS, is_mixed=False)
    assert call.flags == (NO_RECORD,)
    assert call.started.timestamp() == EPOCH
    assert [one.value for one in call.parties] == ["101", "74950000001"]
    by_zone = captured_call(_told(stem="2026-03-02_12-00-00_101_74950000001"), HABITS, is_mixed=False)
    assert (by_zone.started.timestamp(), by_zone.flags) == (EPOCH, (NO_RECORD, GUESSED))
    nothing = captured_call(_told(stem="talk"), HABITS, is_mixed=False)
    assert nothing.flags == (NO_RECORD, NO_TIME)
    assert nothing.ended == datetime(2026, 3, 2, 9, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "flag"), [(60, None), (67, None), (71, None), (80, TOO_LONG), (20, TOO_SHORT), (45, None)]
)
def test_implausible_lengths(seconds: float, flag: str | None) -> None:
    call = captured_call(_told(_master(), seconds=seconds), HABITS, is_mixed=False)
    assert call.flags == ((flag,) if flag else ())


def test_what_is_said_on_pages_is_said_in_russian_too() -> None:
    flags = [NO_RECORD, GUESSED, NO_TIME, TOO_LONG, TOO_SHORT, CUT_OFF, SAME_ON_BOTH, NOTHING_RECORDED]
    flags += ["3 pieces of a sound file could not be decoded", "a sound file cannot be read past a damaged place"]
    assert [flag for flag in flags if in_russian(flag) == flag] == []


def _match(stem: str, *lines: str) -> int:
    matcher, name = Matcher(MOSCOW), read_name(stem)
    matcher.search([(stem, name)], lambda: _read(*lines))
    return len(matcher.rows_of(stem, name))


def test_matching_by_id_by_file_and_by_time() -> None:
    other = _master(uniqueid="1772442009.12", start="2026-03-02 12:00:09", src="74950000002")
    assert _match("1772442000.11", _master(), other, _master()) == 1  # an export may have a row twice
    assert (
        _match(
            "my-own-name",
            FREEPBX,
            FREEPBX_ROW.replace("out-74950000001-101-20260302-120000-1772442000.11", "my-own-name"),
        )
        == 1
    )
    assert _match("2026-03-02_12-00-01_74950000001", _master(), other) == 1
    assert _match("2026-03-02_12-00-01_74950000003", _master(), other) == 0
    assert _match("2026-03-02_12-00-01_101", _master(), _master(uniqueid="1772442000.13")) == 0  # which of the two?


def test_all_records_of_a_conversation_are_found_wherever_they_stand() -> None:
    first = _master() + ',"","1772442000.11","5"'
    second = _master(uniqueid="1772442005.12", start="2026-03-02 12:00:05") + ',"","1772442000.11","6"'
    assert _match("1772442005.12", first, second) == 2
    assert _match("1772442005.12", second, first) == 2
