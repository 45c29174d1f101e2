"""Habits of FreePBX and of dialplans that no recorded trace has: told step by step, one call each."""

from __future__ import annotations

import pytest

from agent.sip.asterisk.callmaker import CROWDED, JOINED
from agent.sip.asterisk.numbers import split_dialled
from tests.asterisk.story import BEGIN, Story

CLIENT = "79160000001"


def inbound(story: Story | None = None) -> Story:
    return (story or Story()).arrives(1, "PJSIP/trunk", CLIENT)


@pytest.mark.parametrize(
    ("string", "expected"),
    [
        ("79160000001@trunk", ("trunk", "79160000001")),
        ("PJSIP/+79160000001@trunk", ("trunk", "+79160000001")),
        ("trunk/79160000001", ("trunk", "79160000001")),
        ("101", ("101", "")),
        ("PJSIP/101", ("101", "")),
        ("101/sip:101@192.0.2.5:5060;x-ast-orig-host=192.0.2.9:5060", ("101", "")),
        ("Local/101@from-queue/n", ("from-queue", "101")),
        ("anna@trunk", ("trunk", "")),
        ("", ("", "")),
    ],
)
def test_a_dial_string_names_an_endpoint_and_perhaps_a_number(string: str, expected: tuple[str, str]) -> None:
    assert split_dialled(string) == expected


def test_a_freepbx_queue_rings_members_through_local_channels() -> None:
    story = inbound().at(1).up(1).app(1, "Queue", "600,t,,,300")
    story.at(2).dials(1, 2, "Local/101@from-queue-00000001;1", "Local/101@from-queue/n")
    story.arrives(3, "Local/101@from-queue-00000001;2", CLIENT, exten="101")
    story.dials(3, 4, "PJSIP/101", "101/sip:101@192.0.2.5:5060", caller="101", person="Anna Ivanova")
    story.dials(1, 5, "Local/102@from-queue-00000002;1", "Local/102@from-queue/n")
    story.arrives(6, "Local/102@from-queue-00000002;2", CLIENT, exten="102")
    story.dials(6, 7, "PJSIP/102", "102/sip:102@192.0.2.6:5060", caller="102", person="Boris Petrov")
    assert story.lines() == [f"in_progress {CLIENT},101 0 - -"]
    story.at(5).up(7).dialled(6, 7, "ANSWER").enters("inner", 7, 6).up(5).enters("outer", 5, 1)
    story.at(5.1).ends(4, 3, 2, cause=26)
    assert story.lines() == [f"in_progress {CLIENT},102 0 5 -"]
    (talking,) = story.calls()
    assert {leg.channel for leg in talking.legs} == {"1795338000.1", "1795338000.7"}  # phones, never wires
    story.at(60).leaves("outer", 1).ends(1).leaves("outer", 5).ends(5, 6).leaves("inner", 7).ends(7)
    assert story.lines() == [f"answered {CLIENT},102 0 5 60"]
    (call,) = story.calls()
    assert call.call.details["queues"] == ["600"] and call.call.details["rung"] == ["101"]
    assert call.call.details["credited"] == "102"


def test_an_outbound_route_may_change_the_caller_id_and_fail_over_to_another_trunk() -> None:
    story = Story().arrives(1, "PJSIP/101", "101", exten="89160000001", person="Anna Ivanova")
    story.at(1).renames(1, caller="74950000001")
    story.dials(1, 2, "PJSIP/first", "89160000001@first", caller="s").at(2).dialled(1, 2, "CHANUNAVAIL").ends(
        2, cause=38
    )
    story.at(3).dials(1, 3, "PJSIP/second", "89160000001@second", caller="s")
    assert story.lines() == ["in_progress 101,89160000001 0 - -"]
    story.at(9).up(3).dialled(1, 3, "ANSWER").up(1).enters("room", 3, 1).at(20).ends(1, 3)
    assert story.lines() == ["answered 101,89160000001 0 9 20"]


@pytest.mark.parametrize(
    ("statuses", "cause", "expected"),
    [
        (["BUSY"], 17, "busy"),
        (["NOANSWER"], 16, "no_answer"),
        (["CANCEL"], 16, "no_answer"),
        (["CHANUNAVAIL"], 38, "failed"),
        (["CONGESTION"], 34, "failed"),
        (["CHANUNAVAIL", "BUSY"], 17, "busy"),
        (["CHANUNAVAIL", "NOANSWER"], 16, "no_answer"),
        ([""], 17, "busy"),
        ([""], 1, "failed"),
        ([""], 16, "no_answer"),
    ],
)
def test_ours_learn_why_they_did_not_get_through(statuses: list[str], cause: int, expected: str) -> None:
    story = Story().arrives(1, "PJSIP/101", "101", exten="89160000001")
    for number, status in enumerate(statuses, start=2):
        story.at(number).dials(1, number, f"PJSIP/t{number}", f"89160000001@t{number}")
        story.dialled(1, number, status).ends(number, cause=cause)
    story.at(30).ends(1, cause=cause)
    assert story.lines() == [f"{expected} 101,89160000001 0 - 30"]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["BUSY", "BUSY"], "busy"),
        (["BUSY", "NOANSWER"], "no_answer"),
        (["CHANUNAVAIL", "CHANUNAVAIL"], "no_answer"),
        (["CONGESTION", "BUSY"], "no_answer"),
    ],
)
def test_a_client_who_was_not_connected_missed_us_unless_all_were_busy(statuses: list[str], expected: str) -> None:
    story = inbound()
    for number, status in enumerate(statuses, start=2):
        story.dials(1, number, f"PJSIP/10{number}", f"10{number}").dialled(1, number, status)
    story.at(30).ends(2, 3, 1)
    assert story.lines() == [f"{expected} {CLIENT},102,103 0 - 30"]


def test_after_hours_a_client_hears_a_prompt_and_is_a_missed_call() -> None:
    story = inbound().at(1).up(1).app(1, "Playback", "closed").at(12).ends(1)
    assert story.lines() == [f"no_answer {CLIENT} 0 - 12"]
    assert story.calls()[0].call.details["dialled"] == "74950000001"


def test_a_phone_that_calls_the_pbx_itself_is_no_call() -> None:
    story = Story().arrives(1, "PJSIP/101", "101", exten="*97").at(1).up(1).app(1, "VoiceMailMain").at(9).ends(1)
    assert story.lines() == []
    story.state.sweep(before=BEGIN.replace(hour=10), keep=())
    assert not story.state.known()


@pytest.mark.parametrize("number", ["", "anonymous"])
def test_a_hidden_caller_is_anonymous(number: str) -> None:
    story = Story().arrives(1, "PJSIP/trunk", number).dials(1, 2, "PJSIP/101", "101").at(5).ends(2, 1)
    assert story.lines() == ["no_answer anonymous,101 0 - 5"]


def test_a_phone_without_a_caller_id_is_its_endpoint() -> None:
    story = inbound().dials(1, 2, "PJSIP/101", "101", caller="74950000001").dials(1, 3, "PJSIP/anna", "anna")
    assert story.at(5).ends(2, 3, 1).lines() == [f"no_answer {CLIENT},101,anna 0 - 5"]


def test_a_trunk_named_like_an_extension_is_none_once_it_was_dialled_through() -> None:
    story = Story().arrives(1, "PJSIP/101", "101", exten="89160000001").dials(1, 2, "PJSIP/12345", "89160000001@12345")
    story.at(5).ends(2, 1).at(10).arrives(3, "PJSIP/12345", CLIENT).dials(3, 4, "PJSIP/101", "101").at(15).ends(4, 3)
    assert story.lines() == ["no_answer 101,89160000001 0 - 5", f"no_answer {CLIENT},101 10 - 15"]


def test_the_international_spelling_of_a_dialled_number_is_kept() -> None:
    story = Story().arrives(1, "PJSIP/101", "101", exten="9810442071234567")
    story.dials(1, 2, "PJSIP/trunk", "442071234567@trunk", caller="+442071234567").at(5).ends(2, 1)
    assert story.lines() == ["no_answer 101,+442071234567 0 - 5"]


def test_click_to_call_is_ours_calling() -> None:
    story = Story().originates(1, "PJSIP/101", "101")
    assert story.lines() == []
    story.at(2).up(1).dials(1, 2, "PJSIP/trunk", "79160000001@trunk").at(5).up(2).enters("room", 1, 2)
    assert story.lines() == ["in_progress 101,79160000001 0 5 -"]
    assert story.at(9).ends(2, 1).lines() == ["answered 101,79160000001 0 5 9"]


def test_a_dialler_that_reaches_the_client_first_is_ours_calling_too() -> None:
    story = Story().originates(1, "PJSIP/trunk", CLIENT).at(3).up(1).app(1, "Queue", "sales")
    assert story.lines() == []
    story.dials(1, 2, "PJSIP/101", "PJSIP/101").at(5).up(2).enters("room", 1, 2).at(9).ends(2, 1)
    assert story.lines() == [f"answered 101,{CLIENT} 0 5 9"]


def test_a_parked_client_talks_with_nobody_and_then_with_whoever_takes_him_back() -> None:
    story = inbound().dials(1, 2, "PJSIP/101", "101").at(2).up(2, 1).enters("room", 2, 1)
    story.at(10).leaves("room", 1, 2).ends(2).enters("parking", 1, kind="holding")
    story.at(20).arrives(3, "PJSIP/102", "102", exten="71").up(3).enters("other", 3)
    (parked,) = story.calls()
    assert [leg.who for leg in parked.legs] == [CLIENT]
    story.at(21).leaves("parking", 1).enters("other", 1).at(30).ends(1, 3)
    assert story.lines() == [f"answered {CLIENT},101,102 0 2 30"]
    parties = story.calls()[0].call.parties
    assert [(one.channel, one.joined and (one.joined - BEGIN).seconds) for one in parties] == [(0, 2), (1, 2), (2, 21)]
    assert [one.left and (one.left - BEGIN).seconds for one in parties] == [30, 10, 30]


def test_two_who_wait_in_one_place_do_not_talk_with_each_other() -> None:
    story = inbound().up(1).enters("queue", 1, kind="holding")
    story.at(2).arrives(2, "PJSIP/trunk", "79160000002").up(2).enters("queue", 2).at(9).ends(1, 2)
    assert story.lines() == [f"no_answer {CLIENT} 0 - 9", "no_answer 79160000002 2 - 9"]


def test_a_conference_is_one_conversation_with_everybody_on_a_channel_of_his_own() -> None:
    story = inbound().at(1).up(1).enters("conference", 1)
    story.at(3).arrives(2, "PJSIP/101", "101", exten="800").up(2).enters("conference", 2)
    story.at(5).arrives(3, "PJSIP/trunk", "79160000002").up(3).enters("conference", 3)
    assert story.lines()[0] == f"in_progress {CLIENT},101,79160000002 0 3 -"
    story.at(9).ends(1).at(12).ends(3, 2)
    lines = story.lines()
    assert lines[0] == f"answered {CLIENT},101,79160000002 0 3 12"
    assert lines[1:] == ["answered 79160000002 5 5 5"]  # he rang, and went on in the first
    (first, second) = story.calls()
    assert [one.channel for one in first.call.parties] == [0, 1, 2]
    assert JOINED in second.call.flags and second.call.conversation_key == first.call.key


def test_more_people_than_channels_are_said() -> None:
    story = inbound().up(1).enters("conference", 1)
    for number in range(2, 12):
        story.at(number).arrives(number, f"PJSIP/1{number:02}", f"1{number:02}", exten="800").up(number)
        story.enters("conference", number)
    (call,) = [one for one in story.calls() if one.call.key == "1795338000.1"]
    assert CROWDED in call.call.flags and len(call.call.parties) == 11
    assert [one.channel for one in call.call.parties] == [*range(8), None, None, None]
    assert {leg.seat for leg in call.legs} == set(range(8))


def test_a_call_that_comes_back_to_the_same_person_is_one_party() -> None:
    story = inbound().dials(1, 2, "PJSIP/101", "101").at(2).up(2, 1).enters("a", 2, 1)
    story.at(5).leaves("a", 2).ends(2).dials(1, 3, "PJSIP/102", "102").at(7).up(3).leaves("a", 1).enters("b", 3, 1)
    story.at(9).leaves("b", 3).ends(3).dials(1, 4, "PJSIP/101", "101").at(11).up(4).leaves("b", 1).enters("c", 4, 1)
    story.at(20).ends(1, 4)
    assert story.lines() == [f"answered {CLIENT},101,102 0 2 20"]
    (call,) = story.calls()
    assert call.call.details["credited"] == "101"
    first = call.call.parties[1]
    assert first.left is not None and (first.left - BEGIN).seconds == 20


def test_two_phones_of_one_number_that_talk_with_each_other_are_two() -> None:
    story = Story().arrives(1, "PJSIP/101", "101", exten="101").dials(1, 2, "PJSIP/101", "101", caller="101")
    story.at(2).up(2, 1).enters("room", 2, 1).at(9).ends(1, 2)
    assert story.lines() == ["answered 101,101 0 2 9 internal"]


def test_a_call_becomes_one_with_the_outside_when_a_client_joins() -> None:
    story = Story().arrives(1, "PJSIP/101", "101", exten="102").dials(1, 2, "PJSIP/102", "102").at(2).up(2, 1)
    story.enters("room", 2, 1)
    assert [one.is_internal for one in story.calls()] == [True]
    story.at(5).arrives(3, "PJSIP/trunk", CLIENT).up(3).enters("room", 3)
    assert [one.is_internal for one in story.calls()] == [False, False]
    assert story.calls()[0].legs[0].who == "101"


def test_a_blind_attended_transfer_swaps_a_channel_for_a_wire() -> None:
    story = inbound().dials(1, 2, "PJSIP/101", "101").at(2).up(2, 1).enters("a", 2, 1)
    story.at(5).arrives(3, "PJSIP/101", "101", exten="102").dials(3, 4, "PJSIP/102", "102")
    story.at(7).originates(5, "Local/_attended@transfer-00000000;1").renames(
        3, name="Local/_attended@transfer-00000000;2"
    )
    story.leaves("a", 2).ends(2).enters("a", 5)
    story.at(9).up(4).dialled(3, 4, "ANSWER").enters("b", 4, 3).at(20).ends(1, 5, 3, 4)
    assert story.lines()[0] == f"answered {CLIENT},101,102 0 2 20"


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_a_call_that_lasts_past_midnight_of_ids_is_named_by_its_oldest_channel(order: tuple[int, int]) -> None:
    story = Story().arrives(9, "PJSIP/trunk", CLIENT).dials(9, 10, "PJSIP/101", "101").at(2).up(10, 9)
    story.enters("room", *(9 if one == 1 else 10 for one in order))
    assert [one.call.key for one in story.calls()] == ["1795338000.9"]
